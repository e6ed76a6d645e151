import type { DeviceRequest, DtypeRequest } from './frames-to-core.js'
import type { CudaDevice, CudaStatus, Dtype } from './machine.js'
import type { TensorRef } from './model/model-description.js'

/** Where a model runs. */
export type Device = { readonly kind: 'cpu' } | { readonly kind: 'cuda'; readonly gpu: CudaDevice }

/** Throws an Error for the operator if a GPU is asked for and none can be used. */
export function chooseDevice(request: DeviceRequest, status: CudaStatus): Device {
  const [gpu] = status.devices
  if (request === 'cpu') return { kind: 'cpu' }
  if (gpu !== undefined && status.fault === null) return { kind: 'cuda', gpu }
  if (request === 'auto') return { kind: 'cpu' }
  const reason = status.fault ?? 'no NVIDIA GPU was found.'
  throw new Error(`--device cuda: ${reason} \`kvasir doctor\` shows what there is.`)
}

/**
 * 16-bit weights stay what they are; float32 is halved, because twice the bytes are half the speed,
 * and quantised weights become bfloat16. Norms, which files often keep in float32, do not decide.
 */
export function chooseDtype(request: DtypeRequest, tensors: readonly TensorRef[]): Dtype {
  if (request !== 'auto') return request
  const matrices = tensors.filter(({ shape }) => shape.length > 1)
  return matrices.length > 0 && matrices.every(({ type }) => type === 'f16')
    ? 'float16'
    : 'bfloat16'
}

/** A compute capability as people write it: 89 is 8.9. */
export function formatCapability(computeCapability: number): string {
  return (computeCapability / 10).toFixed(1)
}
