import { type ModelConfig, ModelFileError } from './model-description.js'

/** Inclusive bounds of a number in a config. */
export interface Range {
  readonly min: number
  readonly max: number
}

/**
 * What a config may say, whichever format says it. Far above every model in use and far below
 * what makes a product of two of them inexact.
 */
export const CONFIG_RANGES = {
  numLayers: { min: 1, max: 1024 },
  hiddenSize: { min: 8, max: 65_536 },
  intermediateSize: { min: 8, max: 1_048_576 },
  numHeads: { min: 1, max: 1024 },
  numKvHeads: { min: 1, max: 1024 },
  headDim: { min: 8, max: 256 },
  vocabSize: { min: 2, max: 4_194_304 },
  maxContextLen: { min: 1, max: 16_777_216 },
  rmsNormEpsilon: { min: 1e-12, max: 0.1 },
  ropeTheta: { min: 1, max: 1e12 },
  ropeFactor: { min: 1, max: 1024 },
} as const satisfies Record<string, Range>

/** Kernels load eight elements at a time. */
const SIZE_MULTIPLE = 8

/** The value of an integer field, or a ModelFileError that says what was given and the bounds. */
export function checkInteger(path: string, field: string, value: unknown, range: Range): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && isWithin(value, range)) {
    return value
  }
  const message = `is ${shown(value)}, allowed are integers from ${range.min} to ${range.max}`
  throw new ModelFileError(path, field, message)
}

/** As checkInteger, for any number. */
export function checkNumber(path: string, field: string, value: unknown, range: Range): number {
  if (typeof value === 'number' && isWithin(value, range)) return value
  const message = `is ${shown(value)}, allowed are numbers from ${range.min} to ${range.max}`
  throw new ModelFileError(path, field, message)
}

/** A value as a message shows it: short, on one line, whatever it is. */
export function shown(value: unknown): string {
  if (value === undefined) return 'missing'
  return (JSON.stringify(value) ?? String(value)).slice(0, 100)
}

/** What each value's range cannot say: how the sizes of a config relate. */
export function checkConfig(path: string, config: ModelConfig): ModelConfig {
  const { numHeads, numKvHeads } = config
  if (numHeads % numKvHeads !== 0) {
    const message = `is ${numKvHeads}, which does not divide the ${numHeads} attention heads`
    throw new ModelFileError(path, 'number of KV heads', message)
  }
  const sizes = {
    'hidden size': config.hiddenSize,
    'intermediate size': config.intermediateSize,
    'head dimension': config.headDim,
  }
  for (const [field, size] of Object.entries(sizes)) {
    if (size % SIZE_MULTIPLE !== 0) {
      throw new ModelFileError(path, field, `is ${size}, no multiple of ${SIZE_MULTIPLE}`)
    }
  }
  return config
}

function isWithin(value: number, range: Range): boolean {
  return value >= range.min && value <= range.max
}
