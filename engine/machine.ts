// What the native addon knows of the machine: the words that front and core share about it.

export interface CpuFeatures {
  /** The widest set the kernels will use: 'avx512' | 'avx2' | 'neon' | 'portable'. */
  readonly kernels: string
  readonly names: readonly string[]
}

export interface CudaStatus {
  /** Whether the addon was built with CUDA. */
  readonly isBuilt: boolean
  /** For example 13000; null without a driver. */
  readonly driverVersion: number | null
  readonly runtimeVersion: number | null
  /** Why no GPU can be used, a sentence; null if one can. */
  readonly fault: string | null
  readonly devices: readonly CudaDevice[]
}

export interface CudaDevice {
  readonly index: number
  readonly name: string
  /** 89 for 8.9. */
  readonly computeCapability: number
  readonly totalBytes: number
  readonly freeBytes: number
  readonly numMultiprocessors: number
}

/** What weights, activations and cache are on a GPU. */
export type Dtype = 'float32' | 'float16' | 'bfloat16'
