import t from 'tap'
import type { Sequence } from '../../scheduler/sequence.js'
import { StepPlan } from '../../scheduler/step-plan.js'
import { makeSequence } from './simulation/make-sequence.js'

function create(id: number, promptTokenIds = Int32Array.of(1)): Sequence {
  return makeSequence(id, { promptTokenIds })
}

t.test('a plan lists what was added since it was cleared', async (t) => {
  const plan = new StepPlan(4)
  const [a, b] = [create(1), create(2, new Int32Array(9))]
  plan.clear(1)
  plan.add(a, 1)
  plan.add(b, 5)
  plan.addAdmitted(b)
  plan.addBlockCopy(7, 9)
  plan.addBlockCopy(7, 8)
  plan.seal()
  t.strictSame(plan.rows, [
    { sequence: a, start: 0, numTokens: 1, samples: true, sourceRow: -1 },
    { sequence: b, start: 0, numTokens: 5, samples: false, sourceRow: -1 },
  ])
  t.strictSame(plan.admitted, [b])
  t.equal(plan.numTokens, 6)
  t.equal(plan.numBlockCopies, 2)
  t.same([...plan.blockCopies], [7, 9, 7, 8, 0, 0, 0, 0])
  t.match(a, { numPlannedTokens: 1, numPendingTokens: 1, lastStep: 1, lastRow: 0 })
  t.match(b, { numPlannedTokens: 5, numPendingTokens: 0, lastStep: 1, lastRow: 1 })

  const [row] = plan.rows
  plan.numDecodes = 1
  plan.clear(3)
  t.equal(plan.numDecodes, 0)
  plan.add(b, 4)
  plan.seal()
  t.equal(plan.rows.length, 1)
  t.equal(plan.rows[0], row, 'rows are used again')
  t.strictSame(row, { sequence: b, start: 5, numTokens: 4, samples: true, sourceRow: -1 })
  t.same(plan.admitted, [])
  t.equal(plan.numTokens, 4)
  t.equal(plan.stepNumber, 3)
  t.equal(plan.numBlockCopies, 0)
})

t.test('a token that is not known yet is named by the row that samples it', async (t) => {
  const [first, second] = [new StepPlan(4), new StepPlan(4)]
  const [a, b] = [create(1), create(2)]
  first.clear(4)
  first.add(a, 1)
  first.add(b, 1)
  second.clear(5)
  second.add(b, 1)
  second.seal()
  t.match(second.rows, [{ start: 1, numTokens: 1, samples: true, sourceRow: 1 }])
  t.equal(b.numPendingTokens, 2)

  first.clear(6)
  t.throws(() => first.add(a, 1), /no step samples; sequence: 1/, 'it was sampled two steps ago')
  t.throws(() => first.add(b, 2), /no step samples; sequence: 2/, 'only one of them can be')
})

t.test('outcomes are the same objects at each step', async (t) => {
  const plan = new StepPlan(4)
  const [a, b] = [create(1), create(2)]
  plan.clear(1)
  plan.addOutcome(a, 10, null)
  plan.addOutcome(b, 11, 'stop')
  plan.sealOutcomes()
  const [first, second] = plan.outcomes
  t.strictSame(first, { sequence: a, tokenId: 10, finishReason: null })
  t.strictSame(second, { sequence: b, tokenId: 11, finishReason: 'stop' })

  plan.clear(3)
  plan.addOutcome(b, -1, 'failed')
  plan.sealOutcomes()
  t.equal(plan.outcomes.length, 1)
  t.equal(plan.outcomes[0], first)
  t.strictSame(first, { sequence: b, tokenId: -1, finishReason: 'failed' })

  plan.clear(5)
  plan.addOutcome(a, 1, null)
  plan.addOutcome(b, 2, null)
  plan.sealOutcomes()
  t.equal(plan.outcomes[1], second, 'also those that were not needed in between')
})

t.test('a new plan is empty', async (t) => {
  const plan = new StepPlan(4)
  plan.seal()
  plan.sealOutcomes()
  const counts = { stepNumber: 0, numTokens: 0, numDecodes: 0, numBlockCopies: 0, numAdmitted: 0 }
  t.match(plan, counts)
  t.same([plan.rows, plan.admitted, plan.outcomes], [[], [], []])
})
