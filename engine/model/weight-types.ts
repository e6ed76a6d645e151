import type { WeightType } from './model-description.js'

/** One tensor as a file states it, in the file's own name. */
export interface StoredTensor {
  readonly name: string
  readonly type: WeightType
  /** Row-major, outermost first. */
  readonly shape: readonly number[]
  /** Bytes from the start of the file. */
  readonly offset: number
  readonly byteLength: number
}

/** How a weight type packs its elements: `blockSize` elements of a row in `bytesPerBlock` bytes. */
export interface WeightLayout {
  readonly blockSize: number
  readonly bytesPerBlock: number
}

export const WEIGHT_LAYOUTS: Readonly<Record<WeightType, WeightLayout>> = {
  f32: { blockSize: 1, bytesPerBlock: 4 },
  f16: { blockSize: 1, bytesPerBlock: 2 },
  bf16: { blockSize: 1, bytesPerBlock: 2 },
  // A block of 32 with a half-precision scale; q4_1 has a minimum as well.
  q8_0: { blockSize: 32, bytesPerBlock: 34 },
  q4_0: { blockSize: 32, bytesPerBlock: 18 },
  q4_1: { blockSize: 32, bytesPerBlock: 20 },
  // A block of 256: 4 low bits, 2 high bits, 16 scales of 8 bits and one of 16.
  q6_k: { blockSize: 256, bytesPerBlock: 210 },
}

/** A tensor has 1 to 4 dimensions, each 1 to 2^31. */
export const MAX_DIMENSIONS = 4
export const MAX_DIMENSION = 2 ** 31
export const MAX_TENSORS = 65_536
export const MAX_TENSOR_NAME_BYTES = 64

/**
 * Product of positive integers, or undefined once it passes 2^53: a JavaScript number does not
 * wrap, it turns inexact, and an inexact size must not pass for a size.
 */
export function exactProduct(factors: readonly number[]): number | undefined {
  let product = 1
  for (const factor of factors) {
    product *= factor
    if (!Number.isSafeInteger(product)) return undefined
  }
  return product
}

/**
 * Bytes of a tensor of `shape` (row-major, outermost first), or the reason why it has none:
 * a dimension out of range, rows that are no whole number of blocks, a size past 2^53.
 */
export function tensorByteLength(type: WeightType, shape: readonly number[]): number | string {
  if (shape.length < 1 || shape.length > MAX_DIMENSIONS) {
    return `has ${shape.length} dimensions, allowed are 1 to ${MAX_DIMENSIONS}`
  }
  for (const dimension of shape) {
    if (!Number.isSafeInteger(dimension) || dimension < 1 || dimension > MAX_DIMENSION) {
      return `has a dimension of ${dimension}, allowed are 1 to ${MAX_DIMENSION}`
    }
  }
  const { blockSize, bytesPerBlock } = WEIGHT_LAYOUTS[type]
  const rowLen = shape.at(-1) ?? 0
  if (rowLen % blockSize !== 0) {
    return `has rows of ${rowLen} elements, but ${type} packs them by ${blockSize}`
  }
  const byteLength = exactProduct([...shape.slice(0, -1), rowLen / blockSize, bytesPerBlock])
  return byteLength ?? `of shape [${shape.join(', ')}] is larger than 2^53 bytes`
}
