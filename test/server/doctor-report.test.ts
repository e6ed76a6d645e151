import t from 'tap'
import { type DoctorFindings, doctorLines, isFit } from '../../server/doctor-report.js'

const gpu = {
  index: 0,
  name: 'NVIDIA H200',
  computeCapability: 90,
  totalBytes: 150e9,
  freeBytes: 149e9,
  numMultiprocessors: 132,
}
const cuda = {
  isBuilt: true,
  driverVersion: 13000,
  runtimeVersion: 13000,
  fault: null,
  devices: [gpu],
}
const machine = {
  cpu: { kernels: 'avx2', names: ['avx2', 'fma'] },
  numThreads: 2,
  memoryLimitBytes: 25e9,
  cuda,
}
const findings: DoctorFindings = {
  nodeVersion: 'v24.1.0',
  platform: 'linux x64',
  machine,
  nvccVersion: '13.0 at nvcc',
}
const noDriver = { ...cuda, driverVersion: null, devices: [], fault: 'No NVIDIA driver was found.' }
const withoutGpu = { ...findings, machine: { ...machine, cuda: noDriver }, nvccVersion: undefined }

t.test('a machine with a GPU', async (t) => {
  t.strictSame(doctorLines(findings, 'auto'), [
    'Node        v24.1.0 on linux x64',
    'CPU         avx2 kernels (avx2, fma)',
    'threads     2',
    'memory      25.0 GB',
    'addon       built for the CPU and CUDA',
    'driver      CUDA 13.0',
    'GPU 0       NVIDIA H200, compute capability 9.0, 132 multiprocessors, 149 GB of 150 GB free',
    'nvcc        13.0 at nvcc',
    'serve uses  NVIDIA H200',
  ])
  t.match(doctorLines(findings, 'cpu').at(-1), 'serve uses  the CPU, 2 threads with avx2 kernels')
  t.ok(isFit(findings, 'cuda'))
})

t.test('a machine without one: what is missing, and what serve does then', async (t) => {
  const lines = doctorLines(withoutGpu, 'auto')
  t.ok(lines.includes('driver      none: No NVIDIA driver was found.'))
  t.ok(lines.includes('nvcc        not found (needed only to build for CUDA)'))
  t.equal(lines.at(-1), 'serve uses  the CPU, 2 threads with avx2 kernels')
  t.match(doctorLines(withoutGpu, 'cuda').at(-1), 'nothing: --device cuda: No NVIDIA driver')
  t.ok(isFit(withoutGpu, 'auto'))
  t.notOk(isFit(withoutGpu, 'cuda'))
})

t.test(
  'an addon for the CPU alone says so, and CUDA versions read as people write them',
  async (t) => {
    const old = { ...cuda, isBuilt: false, driverVersion: 12080 }
    const lines = doctorLines({ ...findings, machine: { ...machine, cuda: old } }, 'auto')
    t.ok(lines.includes('addon       built for the CPU alone'))
    t.ok(lines.includes('driver      CUDA 12.8'))
  },
)

t.test('an addon that cannot be asked is a finding, too', async (t) => {
  const broken = { ...findings, machine: new Error('The native addon cannot be loaded: gone.') }
  const lines = doctorLines(broken, 'auto')
  t.ok(lines.includes('addon       The native addon cannot be loaded: gone.'))
  t.equal(lines.at(-1), 'serve uses  nothing yet')
  t.notOk(isFit(broken, 'auto'))
})
