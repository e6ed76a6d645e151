import type { Submission } from './frames-to-core.js'

/** What a caller of greedySubmission may choose; single sampling parameters, too. */
export type SubmissionChange = Partial<Omit<Submission, 'sampling'>> & {
  readonly sampling?: Partial<Submission['sampling']>
}

/** One greedy answer to a prompt, neutral in everything that `change` does not name. */
export function greedySubmission(
  promptTokenIds: Int32Array,
  maxTokens: number,
  change: SubmissionChange = {},
): Submission {
  return {
    id: 0,
    numChoices: 1,
    tenant: 0,
    priority: 0,
    seedLow: 0,
    seedHigh: 0,
    maxTokens,
    minTokens: 0,
    ignoreEos: false,
    promptTokenIds,
    stopTokenIds: new Int32Array(0),
    biasTokenIds: new Int32Array(0),
    biasValues: new Float32Array(0),
    ...change,
    sampling: {
      temperature: 0,
      topP: 1,
      topK: 0,
      minP: 0,
      repetitionPenalty: 1,
      frequencyPenalty: 0,
      presencePenalty: 0,
      ...change.sampling,
    },
  }
}
