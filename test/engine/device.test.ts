import t from 'tap'
import { chooseDevice, chooseDtype, formatCapability } from '../../engine/device.js'
import type { CudaStatus } from '../../engine/machine.js'
import type { TensorRef, WeightType } from '../../engine/model/model-description.js'

const gpu = {
  index: 0,
  name: 'NVIDIA GeForce RTX 4090',
  computeCapability: 89,
  totalBytes: 24e9,
  freeBytes: 23e9,
  numMultiprocessors: 128,
}
const withGpu: CudaStatus = {
  isBuilt: true,
  driverVersion: 13000,
  runtimeVersion: 13000,
  fault: null,
  devices: [gpu],
}
const withoutGpu = { ...withGpu, devices: [], fault: 'There is no driver.' }

t.test('auto takes a GPU where one can be used, and the CPU where none can', async (t) => {
  t.strictSame(chooseDevice('auto', withGpu), { kind: 'cuda', gpu })
  t.strictSame(chooseDevice('auto', withoutGpu), { kind: 'cpu' })
  t.strictSame(chooseDevice('auto', { ...withGpu, fault: 'The driver is too old.' }), {
    kind: 'cpu',
  })
})

t.test('cpu never takes a GPU', async (t) => {
  t.strictSame(chooseDevice('cpu', withGpu), { kind: 'cpu' })
})

t.test('cuda without a usable GPU is refused with the reason', async (t) => {
  t.strictSame(chooseDevice('cuda', withGpu), { kind: 'cuda', gpu })
  t.throws(() => chooseDevice('cuda', withoutGpu), /--device cuda: There is no driver\. .*doctor/)
  t.throws(() => chooseDevice('cuda', { ...withoutGpu, fault: null }), /no NVIDIA GPU was found/)
})

t.test('auto keeps 16-bit matrices and makes all others bfloat16', async (t) => {
  const tensors = (...types: WeightType[]): TensorRef[] => [
    tensor('f32', [8]),
    ...types.map((type) => tensor(type, [8, 8])),
  ]
  t.equal(chooseDtype('auto', tensors('bf16', 'bf16')), 'bfloat16')
  t.equal(chooseDtype('auto', tensors('f16', 'f16')), 'float16')
  t.equal(chooseDtype('auto', tensors('f32', 'f32')), 'bfloat16')
  t.equal(chooseDtype('auto', tensors('q4_1', 'f16')), 'bfloat16')
  t.equal(chooseDtype('auto', []), 'bfloat16')
  t.equal(chooseDtype('float32', tensors('bf16')), 'float32')
})

t.test('a compute capability reads as people write it', async (t) => {
  t.equal(formatCapability(89), '8.9')
  t.equal(formatCapability(100), '10.0')
})

function tensor(type: WeightType, shape: number[]): TensorRef {
  return { name: 'x', type, shape, file: 0, offset: 0, byteLength: 0, numInterleavedHeads: 0 }
}
