import t from 'tap'
import { findSubmissionFault } from '../../engine/core/submission-check.js'
import { greedySubmission } from '../../engine/greedy-submission.js'

const prompt = Int32Array.of(5, 6)
const limits = { vocabSize: 100, maxContextLen: 16, maxSequences: 4 }

t.test('what is not named is neutral, and the core takes it', async (t) => {
  const submission = greedySubmission(prompt, 3)
  t.match(submission, { promptTokenIds: prompt, maxTokens: 3, sampling: { temperature: 0 } })
  t.equal(findSubmissionFault(submission, limits), undefined)
})

t.test('a change of one sampling parameter leaves the others alone', async (t) => {
  const submission = greedySubmission(prompt, 3, { id: 7, sampling: { topK: 20 } })
  t.equal(submission.id, 7)
  t.match(submission.sampling, { topK: 20, topP: 1, temperature: 0, repetitionPenalty: 1 })
})
