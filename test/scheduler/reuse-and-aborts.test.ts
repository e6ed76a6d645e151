import t from 'tap'
import { add, commit, createScheduler, describe, range, step } from './simulation/drive.js'

t.test('a second prompt reuses the blocks that are equal, within its tenant', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 8), { maxTokens: 1 })
  step(scheduler)
  t.equal(scheduler.stats.numCachedBlocks, 2)

  const prompt = Int32Array.of(...range(0, 8), 50, 51)
  const hit = add(scheduler, 2, prompt, { maxTokens: 1 })
  t.equal(step(scheduler), '2:2')
  t.equal(hit.numCachedTokens, 8)
  const stranger = add(scheduler, 3, prompt, { maxTokens: 1, tenant: 1 })
  t.equal(step(scheduler), '3:8')
  t.equal(stranger.numCachedTokens, 0)
  t.equal(scheduler.stats.numPrefixHitTokens, 8)
})

t.test('a fully cached prompt computes its last block again and ends up sharing it', async (t) => {
  const scheduler = createScheduler()
  const first = add(scheduler, 1, range(0, 8))
  step(scheduler)
  const second = add(scheduler, 2, range(0, 8))
  const plan = scheduler.schedule()!
  t.equal(describe(plan), '1:1 2:4')
  t.equal(second.blockTable[0], first.blockTable[0])
  t.not(second.blockTable[1], first.blockTable[1], 'a shared block is not written')
  commit(scheduler, plan)
  t.equal(second.numCachedTokens, 4)
  t.equal(second.blockTable[1], first.blockTable[1])
  t.equal(scheduler.stats.numUsedBlocks, 3, 'two of the prompt, one of the first answer')
})

t.test('of equal prompts that come together one is computed', async (t) => {
  const scheduler = createScheduler({ maxTokensPerStep: 32 })
  for (let id = 1; id <= 3; id++) add(scheduler, id, range(0, 10))
  t.equal(step(scheduler), '1:10', 'the others wait for its blocks')
  t.equal(step(scheduler), '1:1 2:2 3:2')
  t.equal(scheduler.stats.numUsedBlocks, 5, 'two shared, three of their own')
})

t.test('blocks of a prompt are shared while the rest of it is computed', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 40))
  add(scheduler, 2, Int32Array.of(...range(0, 16), ...range(200, 2)))
  t.equal(step(scheduler), '1:8')
  t.equal(step(scheduler), '1:8')
  scheduler.abort(1)
  t.equal(step(scheduler), '2:2', 'four blocks were shared')
})

t.test('whoever waits for the blocks of another computes them if that one goes', async (t) => {
  for (const maxStepsInFlight of [1, 2] as const) {
    const scheduler = createScheduler({ maxStepsInFlight, maxTokensPerStep: 32 })
    add(scheduler, 1, range(0, 10))
    const second = add(scheduler, 2, range(0, 10))
    const plan = scheduler.schedule()!
    t.equal(describe(plan), '1:10')
    scheduler.abort(1)
    commit(scheduler, plan)
    t.equal(step(scheduler), '2:10')
    t.equal(second.numCachedTokens, 0)
  }
})

t.test('nobody waits for what is not the same, or will not come', async (t) => {
  const scheduler = createScheduler({ maxTokensPerStep: 64, maxSequences: 8 })
  const prompt = range(0, 10)
  add(scheduler, 2, prompt, { tenant: 1 })
  add(scheduler, 1, prompt)
  add(scheduler, 3, Int32Array.of(...range(0, 4), ...range(300, 6)))
  t.equal(step(scheduler), '2:10 1:10', '3 waits for the first block of 1')
  add(scheduler, 4, Int32Array.of(...prompt, 1000, 1000, 9, 9))
  add(scheduler, 5, Int32Array.of(...prompt, 1000, 8, 8, 8, 8))
  t.equal(step(scheduler), '2:1 1:1 3:6 4:6 5:7', 'the answer of 1 is not a full block yet')
})

t.test('answers are reused as well: the next turn of a chat is mostly cached', async (t) => {
  const scheduler = createScheduler()
  const turn = add(scheduler, 1, range(0, 6), { maxTokens: 8 })
  while (turn.status !== 'finished') step(scheduler)
  const next = Int32Array.of(...turn.tokenIds, 1, 2, 3)
  const sequence = add(scheduler, 2, next)
  step(scheduler)
  t.equal(sequence.numCachedTokens, 12, 'of 14 tokens; the last was never computed')
})

t.test('an abort ends a sequence that waits, runs or is long gone', async (t) => {
  const scheduler = createScheduler({ maxSequences: 1 })
  const running = add(scheduler, 1, range(0, 5))
  const waiting = add(scheduler, 2, range(100, 5))
  step(scheduler)
  t.ok(scheduler.abort(2))
  t.equal(waiting.status, 'finished')
  t.notOk(scheduler.abort(2), 'twice')
  t.ok(scheduler.abort(1))
  t.equal(running.status, 'finished')
  t.equal(scheduler.stats.numUsedBlocks, 0, 'at once, because no step is in flight')
  t.equal(scheduler.stats.numCachedBlocks, 1, 'the full block stays for others')
  t.notOk(scheduler.abort(99))
  t.equal(scheduler.schedule(), undefined)
  scheduler.checkIntegrity()
})

t.test('an abort in flight gives the blocks back at the commit', async (t) => {
  const scheduler = createScheduler()
  const sequence = add(scheduler, 1, range(0, 5))
  const plan = scheduler.schedule()!
  t.ok(scheduler.abort(1))
  t.notOk(scheduler.abort(1))
  t.equal(sequence.status, 'finished')
  t.equal(scheduler.stats.numUsedBlocks, 2, 'the step may still write to them')
  t.equal(scheduler.stats.numRunning, 1)
  add(scheduler, 1, range(100, 5), { maxTokens: 1 })
  commit(scheduler, plan)
  t.same(plan.outcomes, [])
  t.equal(scheduler.stats.numUsedBlocks, 0)
  t.equal(scheduler.stats.numRunning, 0)
  t.equal(step(scheduler), '1:5', 'the id is free again')
})

t.test('an aborted sequence whose step fails leaves nothing behind', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 5))
  const plan = scheduler.schedule()!
  scheduler.abort(1)
  commit(scheduler, plan, -1)
  t.same(plan.outcomes, [])
  t.equal(scheduler.stats.numFreeBlocks, 16)
})

t.test('a running sequence that the step in flight leaves out is given back at once', async (t) => {
  const scheduler = createScheduler({ maxTokensPerStep: 4 })
  add(scheduler, 1, range(0, 2))
  add(scheduler, 2, range(100, 9))
  add(scheduler, 3, range(200, 9))
  step(scheduler)
  scheduler.abort(1)
  t.equal(step(scheduler), '2:4')
  t.equal(step(scheduler), '2:3 3:1')
  add(scheduler, 4, range(300, 9))
  t.equal(step(scheduler), '2:1 3:3')
  const plan = scheduler.schedule()!
  t.equal(describe(plan), '2:1 3:3')
  commit(scheduler, plan)
  t.equal(step(scheduler), '2:1 3:2 4:1')
  add(scheduler, 5, range(400, 1))
  const next = scheduler.schedule()!
  t.equal(describe(next), '3:1 4:3', 'the answer of 2 is complete')
  scheduler.abort(5)
  commit(scheduler, next)
})
