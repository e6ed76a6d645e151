import t from 'tap'
import { checkSpec } from '../../scheduler/sequence.js'
import { makeSequence as create } from './simulation/make-sequence.js'

t.test('a new sequence knows its prompt and has room for its answer', async (t) => {
  const promptTokenIds = Int32Array.of(5, 6, 7)
  const sequence = create(1, { promptTokenIds })
  promptTokenIds[0] = 99
  t.same([...sequence.tokenIds], [5, 6, 7, 0, 0, 0], 'the prompt is copied')
  t.equal(sequence.numTokens, 3)
  t.equal(sequence.blockTable.length, 3, 'five tokens go through the model, the sixth does not')
  t.equal(sequence.status, 'waiting')
  t.equal(sequence.samplerSlot, -1)
})

t.test('tokens are appended up to the last one', async (t) => {
  const sequence = create(1)
  for (const token of [9, 8, 7]) sequence.appendToken(token)
  t.same([...sequence.tokenIds], [5, 6, 7, 9, 8, 7])
  t.equal(sequence.numOutputTokens, 3)
  t.equal(sequence.numUnplannedTokens, 6)
  t.throws(() => sequence.appendToken(1), /after the last one; sequence: 1/)
})

t.test('tokens that steps in flight sample count towards its length', async (t) => {
  const sequence = create(1)
  sequence.numPlannedTokens = 3
  sequence.numPendingTokens = 1
  t.equal(sequence.numUnplannedTokens, 1)
  t.notOk(sequence.isLastTokenPending)
  sequence.appendToken(9)
  sequence.appendToken(9)
  t.ok(sequence.isLastTokenPending)
})

t.test('stop tokens end it, not before minTokens and not if they are to be ignored', async (t) => {
  t.ok(create(1).isStop(3))
  t.notOk(create(1).isStop(4))
  t.notOk(create(1, { ignoreStopTokens: true }).isStop(3))
  const patient = create(1, { minTokens: 1 })
  t.notOk(patient.isStop(3))
  patient.appendToken(3)
  t.ok(patient.isStop(3))
})

t.test('it is protected after its second preemption', async (t) => {
  const sequence = create(1)
  sequence.numPreemptions = 1
  t.notOk(sequence.isProtected)
  sequence.numPreemptions = 2
  t.ok(sequence.isProtected)
})

t.test('a request that makes no sense is refused', async (t) => {
  const spec = {
    id: 3,
    tenant: 0,
    promptTokenIds: Int32Array.of(5, 6, 7),
    maxTokens: 3,
    minTokens: 0,
    stopTokenIds: Int32Array.of(2, 3),
    ignoreStopTokens: false,
  }
  const check = (fields: object) => checkSpec({ ...spec, ...fields }, 60)
  t.doesNotThrow(() => check({}))
  t.doesNotThrow(() => check({ priority: -8, numChoices: 2, maxTokens: 60 }))
  t.doesNotThrow(() => check({ priority: 7 }))
  t.throws(() => check({ priority: -9 }), /must be -8 to 7, not: -9/)
  t.throws(() => check({ priority: 8 }), /must be -8 to 7, not: 8/)
  t.throws(() => check({ priority: 0.5 }), /must be -8 to 7, not: 0.5/)
  t.throws(() => check({ numChoices: 0 }), /at least one choice, not: 0/)
  t.throws(() => check({ numChoices: 1.5 }), /at least one choice, not: 1.5/)
  t.throws(() => check({ tenant: 2 ** 53 }), /integer below 2\^53/)
  t.throws(() => check({ promptTokenIds: Int32Array.of() }), /at least one token; sequence: 3/)
  t.throws(() => check({ maxTokens: 0 }), /must be 1 to .* 60: 0/)
  t.throws(() => check({ maxTokens: 61 }), /must be 1 to .* 60: 61/)
  t.throws(() => check({ maxTokens: 1.5 }), /must be 1 to .* 60: 1.5/)
})
