import t from 'tap'
import type { Scheduler } from '../../scheduler/scheduler.js'
import type { StepPlan } from '../../scheduler/step-plan.js'
import { add, commit, createScheduler, describe, range } from './simulation/drive.js'

const twoInFlight = { maxStepsInFlight: 2 } as const

/** The rows of a plan: "1@4<2" is sequence 1, position 4, a token that row 2 samples. */
function sources(plan: StepPlan): string {
  return plan.rows
    .map(({ sequence, start, sourceRow }) => {
      return `${sequence.id}@${start}${sourceRow >= 0 ? `<${sourceRow}` : ''}`
    })
    .join(' ')
}

/** Plans a step and checks everything. */
function plan(scheduler: Scheduler): StepPlan {
  const planned = scheduler.schedule()!
  scheduler.checkIntegrity()
  return planned
}

t.test('the next step is planned before the tokens of this one are known', async (t) => {
  const scheduler = createScheduler(twoInFlight)
  const long = add(scheduler, 1, range(0, 9))
  add(scheduler, 2, range(100, 2))
  const first = plan(scheduler)
  t.equal(sources(first), '1@0')
  const second = plan(scheduler)
  t.equal(sources(second), '1@8 2@0', 'the last token of the prompt is known')
  t.equal(scheduler.numStepsInFlight, 2)
  t.throws(() => scheduler.schedule(), /before one was committed; in flight: 2/)
  t.throws(() => scheduler.commit(second, new Int32Array(2)), /not the oldest in flight: 2/)

  commit(scheduler, first)
  t.equal(long.numPublishedBlocks, 2, 'published with their commit')
  const third = plan(scheduler)
  t.equal(sources(third), '1@9<0 2@2<1')
  t.equal(long.numPendingTokens, 2)
  commit(scheduler, second, 7)
  t.same([...long.tokenIds.subarray(8, 11)], [8, 7, 0])
  const fourth = plan(scheduler)
  t.equal(sources(fourth), '1@10<0 2@3<1')
  commit(scheduler, third, 8)
  commit(scheduler, fourth, 9)
  t.same([...long.tokenIds.subarray(8, 13)], [8, 7, 8, 9, 0])
  t.equal(scheduler.numStepsInFlight, 0)
})

t.test('the last token that maxTokens allows is waited for, not overshot', async (t) => {
  const scheduler = createScheduler(twoInFlight)
  add(scheduler, 1, range(0, 3), { maxTokens: 2 })
  const [first, second] = [plan(scheduler), plan(scheduler)]
  commit(scheduler, first)
  t.equal(scheduler.schedule(), undefined, 'nothing can be planned now')
  t.equal(scheduler.numStepsInFlight, 1)
  commit(scheduler, second)
  t.equal(second.outcomes[0]!.finishReason, 'length')
  t.match(scheduler.stats, { numUsedBlocks: 0, numSteps: 2 })
})

t.test('a stop token costs one wasted row, and blocks go back behind it', async (t) => {
  const scheduler = createScheduler(twoInFlight)
  const stopped = add(scheduler, 1, range(0, 3), { stopTokenIds: Int32Array.of(5) })
  const [first, second] = [plan(scheduler), plan(scheduler)]
  commit(scheduler, first, 5)
  t.match(first.outcomes, [{ tokenId: 5, finishReason: 'stop' }])
  t.equal(stopped.status, 'finished')
  t.match(scheduler.stats, { numUsedBlocks: 1, numRunning: 1 }, 'the second step has them')
  t.equal(scheduler.schedule(), undefined)
  commit(scheduler, second)
  t.same(second.outcomes, [], 'its token is thrown away')
  t.equal(stopped.numOutputTokens, 1)
  t.match(scheduler.stats, { numUsedBlocks: 0, numRunning: 0 })
  t.equal(stopped.samplerSlot, -1)
})

t.test('nobody finds the blocks of a failed sequence while a step still has it', async (t) => {
  const scheduler = createScheduler(twoInFlight)
  const failed = add(scheduler, 1, range(0, 7))
  const first = plan(scheduler)
  const second = plan(scheduler)
  commit(scheduler, first)
  t.equal(failed.numPublishedBlocks, 1)
  const third = plan(scheduler)
  commit(scheduler, second, -1)
  t.match(second.outcomes, [{ finishReason: 'failed' }])
  t.equal(scheduler.stats.numUsedBlocks, 3, 'the third step has it')
  const late = add(scheduler, 2, range(0, 7))
  const fourth = plan(scheduler)
  t.equal(sources(fourth), '2@0')
  t.equal(late.numCachedTokens, 0)
  commit(scheduler, third)
  commit(scheduler, fourth)
  scheduler.checkIntegrity()
})

t.test("a block of a sequence that fails takes no twin's place in that commit", async (t) => {
  const scheduler = createScheduler({ maxTokensPerStep: 16 })
  const good = add(scheduler, 1, range(0, 4), { maxTokens: 8 })
  commit(scheduler, plan(scheduler), 4)
  for (const token of [5, 6]) commit(scheduler, plan(scheduler), token)
  // The answer of 1 comes to be the prompt of 2, which is published one step earlier.
  const failed = add(scheduler, 2, range(0, 9))
  const computing = plan(scheduler)
  t.equal(describe(computing), '1:1 2:5')
  scheduler.commit(computing, Int32Array.of(7, 9))
  t.same([good.numPublishedBlocks, failed.numPublishedBlocks], [1, 2])
  const own = good.blockTable[1]
  const failing = plan(scheduler)
  scheduler.commit(failing, Int32Array.of(8, -1))
  t.equal(good.numPublishedBlocks, 2)
  t.equal(good.blockTable[1], own)
  scheduler.checkIntegrity()
})

t.test('a failure with a step in flight ends alone', async (t) => {
  const scheduler = createScheduler(twoInFlight)
  add(scheduler, 1, range(0, 4))
  add(scheduler, 2, range(100, 4))
  const [first, second] = [plan(scheduler), plan(scheduler)]
  scheduler.commit(first, Int32Array.of(-1, 9))
  scheduler.checkIntegrity()
  t.match(first.outcomes, [{ finishReason: 'failed' }, { finishReason: null }])
  scheduler.commit(second, Int32Array.of(-1, 9))
  scheduler.checkIntegrity()
  t.equal(second.outcomes.length, 1)
  t.match(scheduler.stats, { numRunning: 1, numUsedBlocks: 2, numCachedBlocks: 0 })
})

t.test('an abort waits for the newest step that has the sequence, not longer', async (t) => {
  const scheduler = createScheduler(twoInFlight)
  add(scheduler, 1, range(0, 4), { maxTokens: 2 })
  add(scheduler, 2, range(100, 4))
  const [first, second] = [plan(scheduler), plan(scheduler)]
  commit(scheduler, first)
  const third = plan(scheduler)
  t.equal(describe(third), '2:1', 'the last token of 1 is in flight')
  scheduler.abort(1)
  scheduler.abort(2)
  t.equal(scheduler.stats.numRunning, 2)
  commit(scheduler, second)
  t.equal(scheduler.stats.numRunning, 1)
  t.same(second.outcomes, [])
  commit(scheduler, third)
  t.match(scheduler.stats, { numRunning: 0, numUsedBlocks: 0 })
})

t.test('nobody is preempted while a step is in flight: the loop drains first', async (t) => {
  const limits = { numBlocks: 4, maxContextLen: 16, maxTokensPerStep: 16, ...twoInFlight }
  const scheduler = createScheduler(limits)
  const old = add(scheduler, 1, range(0, 7), { maxTokens: 9 })
  const young = add(scheduler, 2, range(100, 2), { maxTokens: 8 })
  const [first, second] = [plan(scheduler), plan(scheduler)]
  commit(scheduler, first)
  t.equal(scheduler.stats.numUsedBlocks, 3)
  const third = plan(scheduler)
  t.equal(scheduler.stats.numUsedBlocks, 4)
  commit(scheduler, second)
  const plans = [third]
  for (let next = scheduler.schedule(); next !== undefined; next = scheduler.schedule()) {
    plans.push(next)
    commit(scheduler, plans.shift()!)
  }
  t.equal(scheduler.numStepsInFlight, 1)
  t.equal(young.numPreemptions, 0)
  commit(scheduler, plans.shift()!)
  t.equal(describe(plan(scheduler)), '1:1')
  t.equal(young.status, 'waiting')
  t.equal(young.numPendingTokens, 0)
  t.equal(old.status, 'running')
})

t.test('a block that a twin took the place of stays while a step reads it', async (t) => {
  const scheduler = createScheduler({ ...twoInFlight, maxTokensPerStep: 16 })
  add(scheduler, 1, range(0, 8))
  commit(scheduler, plan(scheduler))
  add(scheduler, 2, range(0, 8))
  const [first, second] = [plan(scheduler), plan(scheduler)]
  t.equal(describe(first), '1:1 2:4', 'its last block is computed again')
  t.equal(scheduler.stats.numUsedBlocks, 5)
  commit(scheduler, first)
  t.equal(scheduler.stats.numUsedBlocks, 5, 'the second step was packed with the old table')
  commit(scheduler, second)
  t.equal(scheduler.stats.numUsedBlocks, 4)
})
