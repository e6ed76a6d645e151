import type { Submission } from '../../../engine/frames-to-core.js'

/** A greedy submission of a short prompt, changed as a test needs it. */
export function makeSubmission(change: Partial<Submission> = {}): Submission {
  return {
    id: 1,
    numChoices: 1,
    tenant: 0,
    priority: 0,
    sampling: {
      temperature: 0,
      topP: 1,
      topK: 0,
      minP: 0,
      repetitionPenalty: 1,
      frequencyPenalty: 0,
      presencePenalty: 0,
    },
    seedLow: 0,
    seedHigh: 0,
    maxTokens: 8,
    minTokens: 0,
    ignoreEos: false,
    promptTokenIds: Int32Array.of(5, 6, 7),
    stopTokenIds: new Int32Array(0),
    biasTokenIds: new Int32Array(0),
    biasValues: new Float32Array(0),
    ...change,
  }
}
