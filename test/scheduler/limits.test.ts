import t from 'tap'
import { maxTokensFor, resolveLimits } from '../../scheduler/limits.js'
import { smallLimits } from './simulation/drive.js'

t.test('an answer is as long as context and pool allow', async (t) => {
  t.equal(maxTokensFor(smallLimits, 10), 54)
  t.equal(maxTokensFor({ ...smallLimits, maxContextLen: 20 }, 10), 10)
  t.equal(maxTokensFor({ ...smallLimits, numBlocks: 3 }, 10), 2)
  t.equal(maxTokensFor(smallLimits, 65), 0)
})

t.test('what is left out is filled in', async (t) => {
  t.strictSame(resolveLimits(smallLimits), {
    ...smallLimits,
    maxStepsInFlight: 1,
    maxStepMs: Number.POSITIVE_INFINITY,
    maxWaiting: Number.POSITIVE_INFINITY,
    maxWaitingTokens: Number.POSITIVE_INFINITY,
    maxQueueMs: Number.POSITIVE_INFINITY,
    cacheShareBlocks: smallLimits.numBlocks,
  })
  t.equal(resolveLimits(smallLimits).maxStepsInFlight, 1)
  t.equal(resolveLimits({ ...smallLimits, maxStepsInFlight: 2 }).maxStepsInFlight, 2)
})

t.test('limits that make no sense are refused', async (t) => {
  const resolve = (fields: object) => resolveLimits({ ...smallLimits, ...fields })
  t.throws(() => resolve({ maxSequences: 0 }), /maxSequences must be 1 or more: 0/)
  t.throws(() => resolve({ maxContextLen: 1.5 }), /maxContextLen must be an integer: 1.5/)
  t.throws(() => resolve({ maxStepsInFlight: 3 }), /must be 1 or 2: 3/)
  t.doesNotThrow(() => resolve({ hashSeed: -5 }))
})
