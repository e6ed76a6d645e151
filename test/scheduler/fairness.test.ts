import t from 'tap'
import type { Scheduler } from '../../scheduler/scheduler.js'
import { add, commit, createScheduler, describe, range, step } from './simulation/drive.js'

t.test('a greedy tenant does not hold up another', async (t) => {
  const limits = { maxTokensPerStep: 8, maxSequences: 4, numBlocks: 64 }
  const scheduler = createScheduler(limits)
  for (let id = 1; id <= 20; id++) add(scheduler, id, range(100 * id, 8), { maxTokens: 1 })
  t.equal(step(scheduler), '1:8')
  add(scheduler, 50, range(5000, 8), { tenant: 9, maxTokens: 1 })
  add(scheduler, 51, range(6000, 8), { tenant: 9, maxTokens: 1 })
  t.same(
    [0, 1, 2, 3, 4].map(() => step(scheduler)),
    ['50:8', '2:8', '3:8', '51:8', '4:8'],
  )
})

t.test('long prompts of two tenants take turns', async (t) => {
  const scheduler = createScheduler({ numBlocks: 64 })
  add(scheduler, 1, range(0, 60), { maxTokens: 1 })
  step(scheduler)
  add(scheduler, 2, range(1000, 20), { tenant: 1, maxTokens: 1 })
  const plans = [1, 2, 3, 4, 5].map(() => step(scheduler))
  t.same(plans, ['1:8', '2:8', '1:8', '2:8', '1:8'])
  add(scheduler, 3, range(2000, 4), { maxTokens: 1 })
  t.same([step(scheduler), step(scheduler)], ['2:4 1:4', '1:8'], '3 is no better than 1')
})

t.test('tenants are described while they have sequences', async (t) => {
  const scheduler = createScheduler()
  t.same(scheduler.tenantStats(), [])
  add(scheduler, 1, range(0, 5), { tenant: 7, maxTokens: 1 })
  add(scheduler, 2, range(0, 30), { tenant: 8 })
  add(scheduler, 3, range(100, 5), { tenant: 8 })
  step(scheduler)
  t.strictSame(scheduler.tenantStats(), [
    { tenant: 8, numWaiting: 1, numRunning: 1, numCachedBlocks: 0, deficit: -3 },
  ])
  add(scheduler, 4, range(0, 5), { tenant: 7 })
  t.match(scheduler.tenantStats()[1], { tenant: 7, numWaiting: 1, numCachedBlocks: 1 })
})

t.test('a prompt of better priority goes before one that is half computed', async (t) => {
  const scheduler = createScheduler({ numBlocks: 64 })
  add(scheduler, 1, range(0, 30), { priority: 2 })
  t.equal(step(scheduler), '1:8')
  add(scheduler, 2, range(100, 12), { priority: 1 })
  add(scheduler, 3, range(200, 6), { priority: 2 })
  t.equal(step(scheduler), '2:8')
  add(scheduler, 4, range(300, 3), { priority: -1 })
  t.equal(step(scheduler), '4:3 2:4 1:1')
  t.equal(step(scheduler), '2:1 4:1 1:6', '3 is no better than 1')
})

t.test('a half computed prompt is not overtaken for ever', async (t) => {
  const scheduler = createScheduler({ numBlocks: 64, maxSequences: 2 })
  const patient = add(scheduler, 1, range(0, 30), { priority: 2 })
  step(scheduler)
  let numSteps = 0
  for (let id = 2; patient.numPlannedTokens < 30; id++) {
    add(scheduler, id, range(100 * id, 8), { maxTokens: 1 })
    step(scheduler)
    if (++numSteps > 40) break
  }
  t.equal(numSteps, 16 + 3)
})

t.test('the line is bounded in sequences and in tokens', async (t) => {
  const scheduler = createScheduler({ maxWaiting: 3, maxWaitingTokens: 20 })
  t.ok(scheduler.canQueue(20))
  t.notOk(scheduler.canQueue(21))
  t.ok(scheduler.canQueue(1, 3))
  t.notOk(scheduler.canQueue(1, 4))
  add(scheduler, 1, range(0, 5), { numChoices: 2 })
  t.ok(scheduler.canQueue(10))
  t.notOk(scheduler.canQueue(11))
  t.notOk(scheduler.canQueue(1, 2))
  t.throws(() => add(scheduler, 3, range(0, 11)), /the line has no room for: 3/)
  step(scheduler)
  t.ok(scheduler.canQueue(15), 'the first runs')
})

/** The ids that have waited too long by then. */
function expire(scheduler: Scheduler, nowMs: number): number[] {
  const outcomes = scheduler.expireWaiting(nowMs)
  scheduler.checkIntegrity()
  t.ok(outcomes.every((o) => o.finishReason === 'queue_timeout' && o.tokenId === -1))
  t.ok(outcomes.every((o) => o.sequence.status === 'finished'))
  return outcomes.map(({ sequence }) => sequence.id)
}

t.test('who waits too long to begin is told so', async (t) => {
  const scheduler = createScheduler({ maxSequences: 1, maxQueueMs: 100 })
  const spec = { tenant: 0, maxTokens: 4, minTokens: 0, ignoreStopTokens: false }
  const stopTokenIds = new Int32Array(0)
  for (const [id, nowMs] of [
    [1, 0],
    [2, 10],
    [3, 20],
    [4, 500],
  ] as const) {
    scheduler.add({ id, promptTokenIds: range(100 * id, 3), stopTokenIds, ...spec }, nowMs)
  }
  step(scheduler)
  t.same(expire(scheduler, 110), [], '2 has waited 100 ms, which is allowed')
  t.same(expire(scheduler, 130), [2, 3])
  t.notOk(scheduler.abort(2))
  t.match(scheduler.stats, { numWaiting: 1, numQueueTimeouts: 2 })
  t.same(expire(scheduler, 600), [])
  t.same(expire(scheduler, 601), [4])
  t.equal(scheduler.stats.numRunning, 1)
})

t.test('what has begun is not given up for waiting', async (t) => {
  const limits = { numBlocks: 4, maxContextLen: 16, maxTokensPerStep: 16, maxSequences: 2 }
  const scheduler = createScheduler({ ...limits, maxQueueMs: 100 })
  add(scheduler, 1, range(0, 6), { maxTokens: 10 })
  const preempted = add(scheduler, 2, range(100, 4), { maxTokens: 8 })
  while (preempted.numPreemptions === 0) step(scheduler)
  t.same(expire(scheduler, 1e9), [])

  const choosing = createScheduler({ maxSequences: 1, maxQueueMs: 100 })
  add(choosing, 1, range(0, 6), { numChoices: 2 })
  step(choosing)
  t.same(expire(choosing, 1e9), [])
})

t.test('prompts get the tokens that fit into the time of a step', async (t) => {
  const limits = { maxTokensPerStep: 512, numBlocks: 1024, maxContextLen: 2048, blockSize: 4 }
  const scheduler = createScheduler({ ...limits, maxStepMs: 20 })
  add(scheduler, 1, range(0, 4), { maxTokens: 900 })
  step(scheduler)
  add(scheduler, 2, range(1000, 2000), { maxTokens: 1 })
  const chunks: number[] = []
  const durations: number[] = []
  for (let i = 0; i < 30; i++) {
    const plan = scheduler.schedule()!
    const durationMs = 2 + 0.1 * plan.numTokens
    scheduler.commit(plan, new Int32Array(plan.rows.length).fill(9), durationMs)
    if (plan.numTokens > 1) {
      chunks.push(plan.numTokens - 1)
      durations.push(durationMs)
    }
    t.equal(scheduler.lastStep.durationMs, durationMs)
  }
  t.ok(chunks.length > 8, `${chunks}`)
  t.ok(Math.max(...durations) <= 20, `${durations}`)
  t.ok(durations[5]! > 16, 'and the time is used')

  const alone = createScheduler({ ...limits, maxStepMs: 20 })
  add(alone, 1, range(0, 2000), { maxTokens: 1 })
  t.equal(describe(alone.schedule()!), '1:512', 'nobody else waits for this step')
})

t.test('ids of choices are unique among all that live', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 3, range(0, 4))
  t.throws(() => add(scheduler, 1, range(0, 4), { numChoices: 3 }), /lives already: 3/)
  const plan = scheduler.schedule()!
  commit(scheduler, plan)
  t.equal(describe(plan), '3:4')
})
