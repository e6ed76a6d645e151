import t from 'tap'
import { Sequence } from '../../scheduler/sequence.js'
import { StepPlan } from '../../scheduler/step-plan.js'

function create(id: number): Sequence {
  const spec = {
    id,
    tenant: 0,
    promptTokenIds: Int32Array.of(1),
    maxTokens: 2,
    minTokens: 0,
    stopTokenIds: Int32Array.of(),
    ignoreStopTokens: false,
  }
  return new Sequence(spec, 4)
}

t.test('a plan lists what was added since it was cleared', async (t) => {
  const plan = new StepPlan()
  const [a, b] = [create(1), create(2)]
  plan.add(a, 1)
  plan.add(b, 5)
  plan.addAdmitted(b)
  plan.seal()
  t.same(plan.sequences, [a, b])
  t.same(plan.admitted, [b])
  t.equal(plan.numTokens, 6)
  t.equal(b.numScheduledTokens, 5)

  plan.clear()
  plan.add(b, 2)
  plan.seal()
  t.same(plan.sequences, [b])
  t.same(plan.admitted, [])
  t.equal(plan.numTokens, 2)
})

t.test('outcomes are the same objects at each step', async (t) => {
  const plan = new StepPlan()
  const [a, b] = [create(1), create(2)]
  plan.addOutcome(a, 10, null)
  plan.addOutcome(b, 11, 'stop')
  plan.sealOutcomes()
  const [first, second] = plan.outcomes
  t.strictSame(first, { sequence: a, tokenId: 10, finishReason: null })
  t.strictSame(second, { sequence: b, tokenId: 11, finishReason: 'stop' })

  plan.clear()
  plan.addOutcome(b, -1, 'failed')
  plan.sealOutcomes()
  t.equal(plan.outcomes.length, 1)
  t.equal(plan.outcomes[0], first)
  t.strictSame(first, { sequence: b, tokenId: -1, finishReason: 'failed' })

  plan.clear()
  plan.addOutcome(a, 1, null)
  plan.addOutcome(b, 2, null)
  plan.sealOutcomes()
  t.equal(plan.outcomes[1], second, 'also those that were not needed in between')
})
