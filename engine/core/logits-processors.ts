import type { Submission } from '../frames-to-core.js'

/** Where the sparse adjustments of one step are collected, sequence after sequence. */
export interface AdjustmentSink {
  readonly tokenIds: Int32Array
  readonly values: Float32Array
  /** Entries written so far. */
  length: number
}

/**
 * What may change a sequence's logits without knowing its newest token: entries (token id, value)
 * that the sampler adds. -Infinity forbids a token.
 */
export type LogitsProcessor = (
  submission: Submission,
  numOutputTokens: number,
  sink: AdjustmentSink,
) => void

/** The client's own additions. */
export const addLogitBiases: LogitsProcessor = (submission, _numOutputTokens, sink) => {
  const { biasTokenIds, biasValues } = submission
  sink.tokenIds.set(biasTokenIds, sink.length)
  sink.values.set(biasValues, sink.length)
  sink.length += biasTokenIds.length
}

/** Nothing may end the answer before `minTokens` tokens exist. */
export const banEarlyStops: LogitsProcessor = (submission, numOutputTokens, sink) => {
  const { stopTokenIds } = submission
  if (numOutputTokens >= submission.minTokens) return
  sink.tokenIds.set(stopTokenIds, sink.length)
  sink.values.fill(Number.NEGATIVE_INFINITY, sink.length, sink.length + stopTokenIds.length)
  sink.length += stopTokenIds.length
}

/** In the order in which they are applied. */
export const logitsProcessors: readonly LogitsProcessor[] = [addLogitBiases, banEarlyStops]
