import t from 'tap'
import { findSubmissionFault } from '../../../engine/core/submission-check.js'
import type { Submission } from '../../../engine/frames-to-core.js'
import { makeSubmission } from '../support/submissions.js'

const limits = { vocabSize: 100, maxContextLen: 16, maxSequences: 8 }

t.test('what the front sends passes', (t) => {
  t.equal(findSubmissionFault(makeSubmission(), limits), undefined)
  const full = makeSubmission({ promptTokenIds: new Int32Array(15), maxTokens: 1 })
  t.equal(findSubmissionFault(full, limits), undefined)
  t.end()
})

t.test('whatever could reach native memory wrongly does not', (t) => {
  const faults: readonly Partial<Submission>[] = [
    { numChoices: 0 },
    { numChoices: 9 },
    { priority: 0.5 },
    { priority: -9 },
    { priority: 8 },
    { promptTokenIds: new Int32Array(0) },
    { promptTokenIds: new Int32Array(16), maxTokens: 1 },
    { maxTokens: 0 },
    { maxTokens: 14 },
    { promptTokenIds: Int32Array.of(-1) },
    { promptTokenIds: Int32Array.of(100) },
    { stopTokenIds: Int32Array.of(100) },
    { biasTokenIds: Int32Array.of(-1), biasValues: Float32Array.of(0) },
    { biasTokenIds: Int32Array.of(1), biasValues: Float32Array.of(Number.NaN) },
  ]
  for (const fault of faults) {
    t.type(findSubmissionFault(makeSubmission(fault), limits), 'string', JSON.stringify(fault))
  }
  t.end()
})

t.test('whatever would make the sampler divide by nothing does not', (t) => {
  const { sampling } = makeSubmission()
  const faults: readonly Partial<Submission['sampling']>[] = [
    { temperature: -1 },
    { temperature: Number.NaN },
    { temperature: Number.POSITIVE_INFINITY },
    { topP: 1.1 },
    { topP: -0.1 },
    { minP: 2 },
    { topK: 1.5 },
    { topK: -1 },
    { topK: 2 ** 31 },
    { repetitionPenalty: 0 },
    { frequencyPenalty: Number.NaN },
    { presencePenalty: Number.POSITIVE_INFINITY },
  ]
  for (const fault of faults) {
    const submission = makeSubmission({ sampling: { ...sampling, ...fault } })
    t.type(findSubmissionFault(submission, limits), 'string', String(Object.entries(fault)))
  }
  t.end()
})
