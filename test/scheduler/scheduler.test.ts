import t from 'tap'
import { BlockPool } from '../../scheduler/block-pool.js'
import { Scheduler } from '../../scheduler/scheduler.js'
import {
  add,
  commit,
  createScheduler,
  describe,
  range,
  smallLimits,
  step,
} from './simulation/drive.js'

t.test('limits are checked', async (t) => {
  t.throws(() => createScheduler({ maxSequences: 0 }), /maxSequences must be 1 or more: 0/)
  t.throws(() => createScheduler({ maxContextLen: 1.5 }), /maxContextLen must be an integer: 1.5/)
  t.doesNotThrow(() => createScheduler({ hashSeed: -5 }))
  t.throws(() => createScheduler({ maxStepsInFlight: 3 as 2 }), /must be 1 or 2: 3/)
})

t.test('what fits is what context and pool leave', async (t) => {
  const scheduler = createScheduler({ maxContextLen: 20 })
  t.equal(scheduler.maxTokensFor(15), 5)
  t.equal(scheduler.maxTokensFor(21), 0)
  t.ok(scheduler.canFit(19))
  t.notOk(scheduler.canFit(20))
  t.notOk(scheduler.canFit(0))
  t.ok(scheduler.canFit(1))
  t.equal(createScheduler({ numBlocks: 4 }).maxTokensFor(15), 1)
})

t.test('a sequence that cannot be run is refused', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 4))
  t.throws(() => add(scheduler, 1, range(0, 4)), /with this id lives already: 1/)
  t.throws(() => add(scheduler, 2, range(0, 0)), /at least one token; sequence: 2/)
  t.throws(() => add(scheduler, 2, range(0, 4), { maxTokens: 0 }), /must be 1 to .* 60: 0/)
  t.throws(() => add(scheduler, 2, range(0, 4), { maxTokens: 61 }), /must be 1 to .* 60: 61/)
  t.throws(() => add(scheduler, 2, range(0, 4), { maxTokens: 1.5 }), /must be 1 to .* 60: 1.5/)
  t.throws(() => add(scheduler, 2, range(0, 4), { tenant: 2 ** 53 }), /integer below 2\^53/)
  t.equal(scheduler.stats.numWaiting, 1)
})

t.test('nobody here, nothing to do', async (t) => {
  const scheduler = createScheduler()
  t.equal(scheduler.schedule(), undefined)
  add(scheduler, 1, range(0, 2), { maxTokens: 1 })
  step(scheduler)
  t.equal(scheduler.schedule(), undefined)
})

t.test('a long prompt goes in chunks and samples with the last', async (t) => {
  const scheduler = createScheduler()
  const sequence = add(scheduler, 1, range(0, 19), { maxTokens: 2 })
  for (const numTokens of [8, 8]) {
    const plan = scheduler.schedule()!
    t.match(plan.rows, [{ numTokens, samples: false, sourceRow: -1 }])
    commit(scheduler, plan)
    t.same(plan.outcomes, [])
  }
  const plan = scheduler.schedule()!
  t.match(plan.rows, [{ start: 16, numTokens: 3, samples: true }])
  commit(scheduler, plan, 77)
  t.strictSame(plan.outcomes, [{ sequence, tokenId: 77, finishReason: null }])
  t.equal(sequence.tokenIds[19], 77)
})

t.test('decodes come first, then the rest of the budget goes to prompts in order', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 3))
  add(scheduler, 2, range(100, 9))
  add(scheduler, 3, range(200, 6))
  t.equal(step(scheduler), '1:3 2:5')
  const plan = scheduler.schedule()!
  t.equal(describe(plan), '1:1 2:4 3:3')
  t.equal(plan.numDecodes, 1)
  t.equal(plan.numTokens, 8)
  t.same(
    plan.admitted.map((s) => s.id),
    [3],
  )
  commit(scheduler, plan)
  t.equal(step(scheduler), '1:1 2:1 3:3')
})

t.test('a chunk of one token that ends a prompt is a decode', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 9))
  step(scheduler)
  const plan = scheduler.schedule()!
  t.equal(plan.numDecodes, 1)
  commit(scheduler, plan)
})

t.test('running prompts that the budget does not reach wait for the next step', async (t) => {
  const scheduler = createScheduler({ maxTokensPerStep: 4, maxSequences: 3 })
  add(scheduler, 1, range(0, 2))
  add(scheduler, 2, range(100, 2))
  add(scheduler, 3, range(200, 9))
  t.equal(step(scheduler), '1:2 2:2')
  t.equal(step(scheduler), '1:1 2:1 3:2')
  t.equal(step(scheduler), '1:1 2:1 3:2')
  add(scheduler, 4, range(300, 9))
  t.equal(step(scheduler), '1:1 2:1 3:2', 'no seat for 4')
  t.equal(step(scheduler), '3:3 4:1')
})

t.test('never more seats than tokens a step, so every decode runs in every step', async (t) => {
  const scheduler = createScheduler({ maxTokensPerStep: 2, maxSequences: 4 })
  for (let id = 1; id <= 4; id++) add(scheduler, id, range(100 * id, 1))
  t.equal(step(scheduler), '1:1 2:1')
  t.equal(step(scheduler), '1:1 2:1')
})

t.test('nobody is overtaken: a short prompt waits behind a long one', async (t) => {
  const scheduler = createScheduler({ numBlocks: 8, maxContextLen: 32 })
  add(scheduler, 1, range(0, 15), { maxTokens: 17 })
  add(scheduler, 2, range(100, 20))
  add(scheduler, 3, range(200, 1))
  t.equal(step(scheduler), '1:8')
  t.equal(step(scheduler), '1:7', '2 needs five blocks of four')
  t.equal(step(scheduler), '1:1')
})

t.test('a newcomer leaves a small reserve to those that run', async (t) => {
  const scheduler = createScheduler({ numBlocks: 4, maxContextLen: 16 })
  add(scheduler, 1, range(0, 6))
  add(scheduler, 2, range(100, 5))
  t.equal(step(scheduler), '1:6', 'two blocks would be left for 2, and none for 1 to grow')
  const alone = createScheduler({ numBlocks: 4, maxContextLen: 16 })
  add(alone, 1, range(0, 15), { maxTokens: 1 })
  t.equal(step(alone), '1:8', 'alone there is no reserve')
})

t.test('a stop token ends a sequence, and is its last token', async (t) => {
  const scheduler = createScheduler()
  const sequence = add(scheduler, 1, range(0, 2), { stopTokenIds: Int32Array.of(5) })
  const plan = scheduler.schedule()!
  commit(scheduler, plan, 5)
  t.strictSame(plan.outcomes, [{ sequence, tokenId: 5, finishReason: 'stop' }])
  t.equal(sequence.status, 'finished')
  t.equal(sequence.numOutputTokens, 1)
  t.equal(scheduler.stats.numUsedBlocks, 0)
})

t.test('a stop token that is the last one possible still says stop', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 2), { stopTokenIds: Int32Array.of(5), maxTokens: 1 })
  const plan = scheduler.schedule()!
  commit(scheduler, plan, 5)
  t.equal(plan.outcomes[0]!.finishReason, 'stop')
})

t.test('a stop token before minTokens is a token like others', async (t) => {
  const scheduler = createScheduler()
  const stopTokenIds = Int32Array.of(5)
  add(scheduler, 1, range(0, 2), { stopTokenIds, minTokens: 1 })
  add(scheduler, 2, range(100, 2), { stopTokenIds, ignoreStopTokens: true, maxTokens: 2 })
  const plan = scheduler.schedule()!
  commit(scheduler, plan, 5)
  t.same(
    plan.outcomes.map((o) => o.finishReason),
    [null, null],
  )
  const next = scheduler.schedule()!
  commit(scheduler, next, 5)
  t.same(
    next.outcomes.map((o) => o.finishReason),
    ['stop', 'length'],
  )
})

t.test('a failed sequence ends alone, and what it computed is not reused', async (t) => {
  const scheduler = createScheduler()
  const failed = add(scheduler, 1, range(0, 5))
  add(scheduler, 2, range(100, 3))
  const plan = scheduler.schedule()!
  scheduler.commit(plan, Int32Array.of(-1, 9))
  scheduler.checkIntegrity()
  t.strictSame(plan.outcomes[0], { sequence: failed, tokenId: -1, finishReason: 'failed' })
  t.equal(plan.outcomes[1]!.finishReason, null)
  t.equal(scheduler.stats.numCachedBlocks, 0)
  t.equal(scheduler.stats.numRunning, 1)
  t.notOk(scheduler.abort(1))
})

t.test('blocks of a failed sequence that were published earlier are withdrawn', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 9))
  step(scheduler)
  const plan = scheduler.schedule()!
  commit(scheduler, plan, -1)
  t.equal(scheduler.stats.numFreeBlocks, 16)
})

t.test('sampler slots are unique, stay, and are used again', async (t) => {
  const scheduler = createScheduler({ maxSequences: 2 })
  const first = add(scheduler, 1, range(0, 2), { maxTokens: 2 })
  const second = add(scheduler, 2, range(100, 2), { maxTokens: 3 })
  step(scheduler)
  t.same([first.samplerSlot, second.samplerSlot].sort(), [0, 1])
  const slot = second.samplerSlot
  step(scheduler)
  t.equal(first.samplerSlot, -1)
  const third = add(scheduler, 3, range(200, 2))
  commit(scheduler, scheduler.schedule()!)
  t.equal(third.samplerSlot, 1 - slot)
  t.equal(second.status, 'finished')
})

t.test('calls out of order throw', async (t) => {
  const scheduler = createScheduler()
  const other = createScheduler()
  add(scheduler, 1, range(0, 2))
  add(other, 1, range(0, 2))
  const plan = scheduler.schedule()!
  t.throws(() => scheduler.schedule(), /before one was committed; in flight: 1/)
  t.throws(() => scheduler.commit(plan, new Int32Array(0)), /too few results: 0/)
  t.throws(() => scheduler.commit(other.schedule()!, Int32Array.of(1)), /not the oldest in flight/)
  scheduler.commit(plan, Int32Array.of(1))
  t.throws(() => scheduler.commit(plan, Int32Array.of(1)), /not the oldest in flight/)
})

t.test('plans and outcomes are the same objects in every second step', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 2))
  const plan = scheduler.schedule()!
  commit(scheduler, plan)
  const [outcome] = plan.outcomes
  const other = scheduler.schedule()!
  t.not(other, plan)
  commit(scheduler, other)
  t.equal(scheduler.schedule(), plan)
  commit(scheduler, plan)
  t.equal(plan.outcomes[0], outcome)
})

t.test('stats count', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 5))
  add(scheduler, 2, range(100, 5))
  step(scheduler)
  t.strictSame(scheduler.stats, {
    numWaiting: 0,
    numWaitingTokens: 0,
    numRunning: 2,
    numStepsInFlight: 0,
    numBlocks: 16,
    numFreeBlocks: 12,
    numCachedBlocks: 0,
    numUsedBlocks: 4,
    numSteps: 1,
    numPreemptions: 0,
    numEvictions: 0,
    numPrefixHitTokens: 0,
    numQueueTimeouts: 0,
  })
})

t.test('it is noticed when nobody can run, and nothing in flight would change that', async (t) => {
  const pool = new BlockPool(smallLimits.numBlocks, smallLimits.blockSize, 0)
  const scheduler = new Scheduler(smallLimits, pool)
  while (pool.take() !== -1);
  add(scheduler, 1, range(0, 3))
  t.throws(() => scheduler.schedule(), /no sequence could run, of: 1/)
})

t.test('a plan has the outcomes of its own step alone', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 2), { maxTokens: 2 })
  add(scheduler, 2, range(100, 2))
  const counts = []
  for (let plan = scheduler.schedule(); plan !== undefined; plan = scheduler.schedule()) {
    commit(scheduler, plan)
    counts.push(plan.outcomes.length)
  }
  t.same(counts, [2, 2, 1, 1])
})

t.test('checkIntegrity looks at what the scheduler keeps', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 2)).numBlocks = 1
  t.throws(() => scheduler.checkIntegrity(), /waiting sequence holds something: 1/)
})

t.test('a group is its own choices and nobody behind them', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 2), { numChoices: 2 })
  const other = add(scheduler, 3, range(100, 2))
  t.equal(scheduler.abortGroup(1, 2), 2)
  t.equal(other.status, 'waiting')
})
