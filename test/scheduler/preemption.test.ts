import t from 'tap'
import { add, commit, createScheduler, describe, range, step } from './simulation/drive.js'

t.test('when blocks run out the newest is preempted and computed again', async (t) => {
  const scheduler = createScheduler({ numBlocks: 4, maxContextLen: 16, maxTokensPerStep: 16 })
  const old = add(scheduler, 1, range(0, 6), { maxTokens: 10 })
  const young = add(scheduler, 2, range(100, 4), { maxTokens: 8 })
  t.equal(step(scheduler), '1:6 2:4')
  t.equal(step(scheduler), '1:1 2:1')
  t.equal(step(scheduler), '1:1 2:1')
  t.equal(scheduler.stats.numUsedBlocks, 4)
  t.equal(step(scheduler), '1:1', 'its third block was one of the other sequence')
  t.equal(young.status, 'waiting')
  t.equal(young.samplerSlot, -1)
  t.equal(young.numPreemptions, 1)
  t.equal(scheduler.stats.numPreemptions, 1)
  t.equal(scheduler.stats.numCachedBlocks, 1, 'its full block is kept while there is room')
  while (old.status !== 'finished') t.equal(step(scheduler), '1:1')
  t.equal(old.numPreemptions, 0)

  const plan = scheduler.schedule()!
  t.same(plan.admitted, [young], 'its sampler slot must be filled again')
  t.equal(describe(plan), '2:7', 'prompt and answer so far')
  t.equal(young.numCachedTokens, 0, 'what was cached at the first admission')
  commit(scheduler, plan)
  while (young.status !== 'finished') step(scheduler)
  t.equal(young.numOutputTokens, 8)
})

t.test(
  'a sequence preempted twice waits for all it can need, and is not preempted again',
  async (t) => {
    const scheduler = createScheduler({ numBlocks: 6, maxContextLen: 24, maxTokensPerStep: 16 })
    const old = add(scheduler, 1, range(0, 4), { maxTokens: 16 })
    const young = add(scheduler, 2, range(100, 4), { maxTokens: 12 })
    step(scheduler)
    young.numPreemptions = 1
    const counts = []
    while (young.status !== 'finished') {
      step(scheduler)
      if (young.status === 'running') counts.push(young.numBlocks)
    }
    t.equal(young.numPreemptions, 2)
    t.equal(old.numPreemptions, 0)
    t.equal(counts.at(-1), 4, 'fifteen tokens go through the model')
    t.ok(counts.lastIndexOf(3) < counts.indexOf(4), 'all four at once')
    t.equal(young.numOutputTokens, 12)
  },
)

t.test('beside protected ones, the asking sequence preempts itself', async (t) => {
  const scheduler = createScheduler({ numBlocks: 8, maxContextLen: 32, maxTokensPerStep: 16 })
  const old = add(scheduler, 1, range(0, 4), { maxTokens: 28 })
  const shielded = add(scheduler, 2, range(100, 4), { maxTokens: 20 })
  step(scheduler)
  shielded.numPreemptions = 1
  while (old.status !== 'finished') step(scheduler)
  step(scheduler)
  t.match(shielded, { numPreemptions: 2, numBlocks: 6 })
  const asking = add(scheduler, 3, range(200, 4), { maxTokens: 8 })
  const plans = [step(scheduler)]
  while (asking.status === 'running') plans.push(step(scheduler))
  t.equal(plans.at(-1), '2:1', 'the protected one goes on')
  t.equal(asking.numPreemptions, 1)
  while (asking.status !== 'finished') step(scheduler)
  t.equal(asking.numOutputTokens, 8)
  t.equal(shielded.numPreemptions, 2)
})

t.test('with nothing but protected sequences that need blocks, something is wrong', async (t) => {
  const scheduler = createScheduler({ numBlocks: 3, maxContextLen: 12 })
  const sequences = [1, 2].map((id) => add(scheduler, id, range(100 * id, 4)))
  step(scheduler)
  // Protected ones took all their blocks at admission, so this cannot come about.
  for (const sequence of sequences) sequence.numPreemptions = 2
  t.throws(() => scheduler.schedule(), /no running sequence may be preempted/)
})

t.test('a tenant that has nothing running gets the seat of one that has all', async (t) => {
  for (const maxStepsInFlight of [1, 2] as const) {
    const limits = { maxStepsInFlight, maxSequences: 3, numBlocks: 64 }
    const scheduler = createScheduler(limits)
    const greedy = [1, 2, 3, 4].map((id) =>
      add(scheduler, id, range(100 * id, 2), { maxTokens: 40 }),
    )
    for (let i = 0; i < 3; i++) step(scheduler)
    const first = add(scheduler, 11, range(5000, 2), { tenant: 9 })
    const second = add(scheduler, 12, range(6000, 2), { tenant: 9 })
    t.equal(step(scheduler), '1:1 2:1 3:1', 'it finds no seat')
    t.equal(step(scheduler), '1:1 2:1 11:2')
    t.equal(greedy[2]!.numPreemptions, 1, 'the newest')
    t.equal(step(scheduler), '1:1 2:1 11:1', 'one seat is enough')
    t.equal(second.status, 'waiting')
    while (first.status !== 'finished') step(scheduler)
    while (greedy.some(({ status }) => status !== 'finished')) step(scheduler)
    t.ok(greedy.every(({ numPreemptions }) => numPreemptions <= 2))
  }
})

t.test('it gets the room as well, and waits for the steps in flight', async (t) => {
  const limits = { numBlocks: 8, maxContextLen: 32, maxTokensPerStep: 16, maxSequences: 3 }
  const scheduler = createScheduler({ ...limits, maxStepsInFlight: 2 })
  const old = add(scheduler, 1, range(0, 12), { maxTokens: 8 })
  const young = add(scheduler, 2, range(100, 10), { maxTokens: 8 })
  for (let i = 0; i < 2; i++) step(scheduler)
  const late = add(scheduler, 3, range(200, 12), { tenant: 1 })
  const plan = scheduler.schedule()!
  t.equal(describe(plan), '1:1 2:1')
  t.equal(scheduler.schedule(), undefined, 'nobody is preempted beside a step in flight')
  commit(scheduler, plan)
  t.match(step(scheduler), /^1:1 3:/)
  t.match([old, young, late], [{ status: 'running' }, { numPreemptions: 1 }, { status: 'running' }])
})

t.test('nobody gives up a seat for a worse priority, or when it is protected', async (t) => {
  const scheduler = createScheduler({ maxSequences: 2, numBlocks: 64 })
  const better = [1, 2].map((id) => {
    return add(scheduler, id, range(100 * id, 2), { maxTokens: 9, priority: -1 })
  })
  step(scheduler)
  const late = add(scheduler, 3, range(5000, 2), { tenant: 9 })
  for (let i = 0; i < 3; i++) t.equal(step(scheduler), '1:1 2:1')
  scheduler.abort(late.id)
  for (const sequence of better) sequence.numPreemptions = 2
  add(scheduler, 4, range(5000, 2), { tenant: 9, priority: -1 })
  // They took no more than they needed at admission, which is enough for what is left of them.
  for (const sequence of better) sequence.numBlocks = sequence.blockTable.length
  t.equal(scheduler.schedule()!.rows.length, 2)
})

t.test('the worst priority is preempted first', async (t) => {
  const limits = { numBlocks: 4, maxContextLen: 16, maxTokensPerStep: 16 }
  const scheduler = createScheduler(limits)
  const low = add(scheduler, 1, range(0, 4), { maxTokens: 12, priority: 3 })
  const high = add(scheduler, 2, range(100, 6), { maxTokens: 10 })
  step(scheduler)
  while (low.status === 'running') step(scheduler)
  t.equal(high.numPreemptions, 0)
  t.equal(low.numPreemptions, 1)
  while (low.status !== 'finished') step(scheduler)
  t.equal(low.numOutputTokens, 12)
})

t.test('who gets room stays first, though its tenant is in debt, and goes alone', async (t) => {
  const limits = { numBlocks: 16, maxSequences: 3, maxContextLen: 48, maxTokensPerStep: 48 }
  for (const deficit of [-40, 30]) {
    const scheduler = createScheduler(limits)
    const greedy = [1, 2].map((id) => add(scheduler, id, range(100 * id, 16), { maxTokens: 12 }))
    const short = add(scheduler, 11, range(5000, 2), { tenant: 9, maxTokens: 3 })
    step(scheduler)
    const long = add(scheduler, 12, range(6000, 24), { tenant: 9 })
    const next = add(scheduler, 13, range(7000, 2), { tenant: 9 })
    while (short.status !== 'finished') t.equal(long.status, 'waiting', step(scheduler))
    step(scheduler)
    t.equal(long.status, 'waiting')
    long.account.deficit = deficit
    for (const { account } of greedy) account.deficit = 0
    t.equal(step(scheduler), '1:1 12:24')
    t.match(
      [...greedy, next],
      [
        { numPreemptions: 0, status: 'running' },
        { numPreemptions: 1, status: 'waiting' },
        { status: 'waiting' },
      ],
    )
  }
})

t.test('nobody is preempted once there are exactly enough blocks', async (t) => {
  const scheduler = createScheduler({ numBlocks: 4, maxContextLen: 16, maxTokensPerStep: 16 })
  for (const [id, length] of [
    [1, 4],
    [2, 4],
    [3, 2],
  ] as const) {
    add(scheduler, id, range(100 * id, length))
  }
  t.equal(step(scheduler), '1:4 2:4 3:2')
  t.equal(step(scheduler), '1:1 2:1', 'two blocks are asked for, one was free and one given up')
  t.equal(scheduler.stats.numPreemptions, 1)
})
