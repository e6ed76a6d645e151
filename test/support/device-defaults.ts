/** The fields about devices where a test runs on the CPU and does not care. */
export const cpuStart = {
  device: 'cpu',
  dtype: 'auto',
  numerics: 'reference',
  isBatchInvariant: false,
  useGraphs: true,
  gpuMemoryFraction: 0.9,
} as const

/** The same for the border to native code. */
export const cpuNative = {
  device: 'cpu',
  dtype: 'float32',
  numerics: 'reference',
  isBatchInvariant: false,
  useGraphs: true,
} as const
