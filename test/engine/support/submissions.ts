import type { Submission } from '../../../engine/frames-to-core.js'
import { greedySubmission } from '../../../engine/greedy-submission.js'

/** A greedy submission of a short prompt, changed as a test needs it. */
export function makeSubmission(change: Partial<Submission> = {}): Submission {
  return greedySubmission(Int32Array.of(5, 6, 7), 8, { id: 1, ...change })
}
