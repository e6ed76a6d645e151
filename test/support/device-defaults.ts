/** What an engine is told of the device and the loop where a test does not care. */
export const cpuEngine = {
  device: 'cpu',
  dtype: 'auto',
  numerics: 'reference',
  isBatchInvariant: false,
  useGraphs: true,
  gpuMemoryFraction: 0.9,
  maxStepsInFlight: 2,
  tenantCacheShare: 0.5,
} as const

/** What a start frame says of the device and the loop where a test does not care. */
export const cpuStart = {
  ...cpuEngine,
  maxStepMs: null,
  maxQueueMs: null,
  tracePath: null,
} as const

/** The same for the border to native code. */
export const cpuNative = {
  device: 'cpu',
  dtype: 'float32',
  numerics: 'reference',
  isBatchInvariant: false,
  useGraphs: true,
} as const
