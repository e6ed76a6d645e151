import t from 'tap'
import { type BuggifyPlace, neverBuggify } from '../../scheduler/buggify.js'
import { Scheduler } from '../../scheduler/scheduler.js'
import { add, commit, createScheduler, describe, range, smallLimits } from './simulation/drive.js'

t.test('production takes no unlikely turn', async (t) => {
  t.notOk(neverBuggify('preempt'))
})

/** A scheduler that takes the turn at these places whenever it comes by. */
function stirred(...places: BuggifyPlace[]): Scheduler {
  const limits = { ...smallLimits, maxStepsInFlight: 2 } as const
  return new Scheduler(limits, undefined, (place) => places.includes(place))
}

t.test('a late plan waits for the step in flight', async (t) => {
  const scheduler = stirred('late_plan')
  add(scheduler, 1, range(0, 3))
  const plan = scheduler.schedule()!
  t.equal(scheduler.schedule(), undefined)
  commit(scheduler, plan)
  t.ok(scheduler.schedule())
})

t.test('a preemption out of the blue happens twice a sequence', async (t) => {
  const scheduler = stirred('preempt')
  const sequences = [1, 2, 3].map((id) => add(scheduler, id, range(100 * id, 3)))
  while (sequences.some((s) => s.status !== 'finished')) commit(scheduler, scheduler.schedule()!)
  t.ok(scheduler.stats.numPreemptions > 0)
  t.ok(sequences.every((s) => s.numPreemptions <= 2 && s.numOutputTokens === 4))
})

t.test('whoever was preempted out of the blue is not admitted in the same step', async (t) => {
  const scheduler = stirred('preempt')
  const alone = add(scheduler, 1, range(100, 3))
  commit(scheduler, scheduler.schedule()!)
  commit(scheduler, scheduler.schedule()!)
  t.equal(alone.numPreemptions, 0, 'one that runs alone is left in peace')
  const other = add(scheduler, 2, range(200, 3))
  commit(scheduler, scheduler.schedule()!)
  const plan = scheduler.schedule()!
  t.equal(other.numPreemptions, 1)
  t.same(plan.admitted, [])
  commit(scheduler, plan)
})

t.test('a small chunk is one token, and nobody is admitted beside decodes', async (t) => {
  const scheduler = stirred('small_chunk', 'no_admission')
  add(scheduler, 1, range(0, 2))
  add(scheduler, 2, range(100, 2))
  const first = scheduler.schedule()!
  t.equal(describe(first), '1:1')
  commit(scheduler, first)
  const second = scheduler.schedule()!
  t.equal(describe(second), '1:1')
  commit(scheduler, second)
})

t.test('a cache miss computes again, and a cache reset forgets', async (t) => {
  const missing = stirred('cache_miss')
  const forgetting = stirred('cache_reset')
  for (const scheduler of [createScheduler(), missing, forgetting]) {
    for (const id of [1, 2]) {
      add(scheduler, id, range(0, 7), { maxTokens: 1 })
      const plan = scheduler.schedule()!
      const isFirst = id === 1 || scheduler === missing || scheduler === forgetting
      t.equal(describe(plan), isFirst ? `${id}:7` : '2:3')
      commit(scheduler, plan)
    }
  }
})
