import t from 'tap'
import { BlockPool } from '../../scheduler/block-pool.js'
import { StepsInFlight } from '../../scheduler/steps-in-flight.js'
import { makeSequence } from './simulation/make-sequence.js'

t.test('two plans alternate, and land in order', async (t) => {
  const pool = new BlockPool(2, 2, 0)
  const steps = new StepsInFlight(2, 4)
  const first = steps.prepare()
  t.equal(first.stepNumber, 1)
  t.equal(steps.length, 0, 'not before it is launched')
  t.throws(() => steps.land(first, pool), /not the oldest in flight: 1/)
  steps.launch()
  const second = steps.prepare()
  t.not(second, first)
  steps.launch()
  t.match(steps, { length: 2, numPlanned: 2, numCommitted: 0 })
  t.throws(() => steps.prepare(), /before one was committed; in flight: 2/)
  t.throws(() => steps.land(second, pool), /not the oldest in flight: 2/)
  steps.land(first, pool)
  t.equal(steps.prepare(), first)
  t.equal(first.stepNumber, 3)
  steps.land(second, pool)
  t.match(steps, { length: 0, numPlanned: 2, numCommitted: 2 })
})

t.test('what ended is handed out when no step has it any more', async (t) => {
  const pool = new BlockPool(2, 2, 0)
  const steps = new StepsInFlight(2, 4)
  const first = steps.prepare()
  steps.launch()
  const second = steps.prepare()
  steps.launch()
  const [later, sooner] = [makeSequence(1), makeSequence(2)]
  later.lastStep = 2
  sooner.lastStep = 1
  steps.leaving.pushBack(later)
  steps.leaving.pushBack(sooner)
  t.equal(steps.takeLeft(), undefined)
  steps.land(first, pool)
  t.ok(steps.has(later))
  t.notOk(steps.has(sooner))
  t.equal(steps.takeLeft(), sooner)
  t.equal(steps.takeLeft(), undefined)
  steps.land(second, pool)
  t.equal(steps.takeLeft(), later)
  t.equal(steps.leaving.length, 0)
})

t.test('fenced blocks go back with the step that reads them', async (t) => {
  const pool = new BlockPool(2, 2, 0)
  const steps = new StepsInFlight(1, 4)
  const plan = steps.prepare()
  steps.launch()
  steps.fencedBlocks.push(pool.take())
  steps.land(plan, pool)
  t.equal(pool.numFreeBlocks, 2)
  t.same(steps.fencedBlocks, [])
})

t.test('the last step is described', async (t) => {
  const pool = new BlockPool(2, 2, 0)
  const steps = new StepsInFlight(1, 4)
  t.match(steps.last, { stepNumber: 0, durationMs: 0 })
  const plan = steps.prepare()
  const sequence = makeSequence(1)
  plan.add(sequence, 3)
  plan.addAdmitted(sequence)
  plan.addBlockCopy(0, 1)
  plan.seal()
  steps.launch()
  steps.land(plan, pool, 2.5)
  t.strictSame(steps.last, {
    stepNumber: 1,
    numDecodes: 0,
    numPromptTokens: 3,
    numAdmitted: 1,
    numBlockCopies: 1,
    durationMs: 2.5,
  })
})

t.test('before the first commit there is no last step', async (t) => {
  t.same(Object.values(new StepsInFlight(2, 4).last), [0, 0, 0, 0, 0, 0])
})

t.test('the last step is told by its rows and its time', async (t) => {
  const pool = new BlockPool(8, 2, 0)
  const steps = new StepsInFlight(1, 4)
  const plan = steps.prepare()
  plan.add(makeSequence(1), 1)
  plan.numDecodes = 1
  plan.add(makeSequence(2), 3)
  plan.addAdmitted(makeSequence(2))
  plan.addBlockCopy(4, 5)
  plan.addBlockCopy(4, 6)
  plan.seal()
  steps.launch()
  steps.land(plan, pool, 7.5)
  t.same(steps.last, {
    stepNumber: 1,
    numDecodes: 1,
    numPromptTokens: 3,
    numAdmitted: 1,
    numBlockCopies: 2,
    durationMs: 7.5,
  })
})
