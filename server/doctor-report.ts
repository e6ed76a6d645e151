import { chooseDevice, formatCapability } from '../engine/device.js'
import type { DeviceRequest } from '../engine/frames-to-core.js'
import type { CudaDevice, CudaStatus } from '../engine/machine.js'
import { formatBytes } from '../engine/model/progress-bar.js'
import type { MachineReport } from '../engine/probe-machine.js'

export interface DoctorFindings {
  readonly nodeVersion: string
  readonly platform: string
  /** What the addon found, or why it could not be asked. */
  readonly machine: MachineReport | Error
  /** The line nvcc says of itself; undefined where there is none. */
  readonly nvccVersion: string | undefined
}

/** One line a finding: a label, what was found, and last what would be used. */
export function doctorLines(findings: DoctorFindings, request: DeviceRequest): readonly string[] {
  const { machine } = findings
  const rows: [string, string][] = [['Node', `${findings.nodeVersion} on ${findings.platform}`]]
  if (machine instanceof Error) {
    rows.push(['addon', machine.message])
  } else {
    rows.push(
      ['CPU', `${machine.cpu.kernels} kernels (${machine.cpu.names.join(', ')})`],
      ['threads', `${machine.numThreads}`],
      ['memory', formatBytes(machine.memoryLimitBytes)],
      ['addon', machine.cuda.isBuilt ? 'built for the CPU and CUDA' : 'built for the CPU alone'],
      ['driver', describeDriver(machine.cuda)],
      ...machine.cuda.devices.map((gpu): [string, string] => [
        `GPU ${gpu.index}`,
        describeGpu(gpu),
      ]),
    )
  }
  rows.push(['nvcc', findings.nvccVersion ?? 'not found (needed only to build for CUDA)'])
  rows.push([
    'serve uses',
    machine instanceof Error ? 'nothing yet' : describeUse(machine, request),
  ])
  return rows.map(([label, text]) => `${label.padEnd(12)}${text}`)
}

/** Whether `kvasir serve` could start with this device. */
export function isFit({ machine }: DoctorFindings, request: DeviceRequest): boolean {
  if (machine instanceof Error) return false
  return request !== 'cuda' || (machine.cuda.fault === null && machine.cuda.devices.length > 0)
}

function describeDriver({ driverVersion, fault }: CudaStatus): string {
  const version = driverVersion === null ? 'none' : `CUDA ${formatCudaVersion(driverVersion)}`
  return fault === null ? version : `${version}: ${fault}`
}

/** 13000 is 13.0, 12080 is 12.8. */
function formatCudaVersion(version: number): string {
  return `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`
}

function describeGpu(gpu: CudaDevice): string {
  const memory = `${formatBytes(gpu.freeBytes)} of ${formatBytes(gpu.totalBytes)} free`
  const capability = `compute capability ${formatCapability(gpu.computeCapability)}`
  return `${gpu.name}, ${capability}, ${gpu.numMultiprocessors} multiprocessors, ${memory}`
}

function describeUse(machine: MachineReport, request: DeviceRequest): string {
  try {
    const device = chooseDevice(request, machine.cuda)
    if (device.kind === 'cuda') return device.gpu.name
    return `the CPU, ${machine.numThreads} threads with ${machine.cpu.kernels} kernels`
  } catch (error) {
    return `nothing: ${(error as Error).message}`
  }
}
