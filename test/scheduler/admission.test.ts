import t from 'tap'
import { takeTable } from '../../scheduler/admission.js'
import { BlockPool } from '../../scheduler/block-pool.js'
import { Scheduler } from '../../scheduler/scheduler.js'
import type { Sequence } from '../../scheduler/sequence.js'
import { SequenceQueue } from '../../scheduler/sequence-queue.js'
import { StepPlan } from '../../scheduler/step-plan.js'
import {
  add,
  commit,
  createScheduler,
  describe,
  range,
  smallLimits,
  step,
} from './simulation/drive.js'
import { makeSequence } from './simulation/make-sequence.js'

/** The pairs of blocks that a plan copies. */
function copies(plan: StepPlan): number[][] {
  return Array.from({ length: plan.numBlockCopies }, (_, i) => [
    ...plan.blockCopies.subarray(2 * i, 2 * i + 2),
  ])
}

function plan(scheduler: Scheduler): StepPlan {
  const planned = scheduler.schedule()!
  scheduler.checkIntegrity()
  return planned
}

const blockAt = (sequence: Sequence, index: number) => sequence.blockTable[index]!

t.test('choices compute the prompt once and share its full blocks', async (t) => {
  const scheduler = createScheduler({ maxTokensPerStep: 16 })
  const first = add(scheduler, 1, range(0, 11), { numChoices: 3 })
  t.same(
    first.choices.map((s) => [s.id, s.choice]),
    [
      [1, 0],
      [2, 1],
      [3, 2],
    ],
  )
  t.equal(scheduler.stats.numWaitingTokens, 33)
  t.equal(step(scheduler), '1:11')
  const forking = plan(scheduler)
  t.equal(describe(forking), '1:1 2:1 3:1')
  const [, second, third] = first.choices as [Sequence, Sequence, Sequence]
  t.same(copies(forking), [
    [blockAt(first, 2), blockAt(second, 2)],
    [blockAt(first, 2), blockAt(third, 2)],
  ])
  for (const choice of [second, third]) {
    t.same([...choice.blockTable.subarray(0, 2)], [...first.blockTable.subarray(0, 2)])
    t.equal(choice.numCachedTokens, 10)
  }
  t.match(forking.rows[1], { start: 10, samples: true, sourceRow: -1 })
  t.equal(scheduler.stats.numUsedBlocks, 5, 'two shared, a last one for each')
  commit(scheduler, forking)
  while (third.status !== 'finished') step(scheduler)
  t.equal(scheduler.stats.numUsedBlocks, 0)
})

t.test('a full last block is copied and shared again, an empty one not copied', async (t) => {
  const full = createScheduler({ maxTokensPerStep: 16 })
  const first = add(full, 1, range(0, 8), { numChoices: 2 })
  step(full)
  const forking = plan(full)
  t.same(copies(forking), [[blockAt(first, 1), blockAt(first.choices[1]!, 1)]])
  commit(full, forking)
  t.equal(blockAt(first.choices[1]!, 1), blockAt(first, 1))

  const edge = createScheduler({ maxTokensPerStep: 16 })
  add(edge, 1, range(0, 9), { numChoices: 2 })
  step(edge)
  const plain = plan(edge)
  t.equal(describe(plain), '1:1 2:1')
  t.equal(plain.numBlockCopies, 0)
  commit(edge, plain)
})

t.test('a short prompt without a full block is copied as well', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 3), { numChoices: 2 })
  t.equal(step(scheduler), '1:3')
  const forking = plan(scheduler)
  t.equal(describe(forking), '1:1 2:1')
  t.equal(forking.numBlockCopies, 1)
  commit(scheduler, forking)
})

t.test('with two steps in flight a choice waits for the commit of its prompt', async (t) => {
  const scheduler = createScheduler({ maxStepsInFlight: 2 })
  add(scheduler, 1, range(0, 6), { numChoices: 2 })
  const [first, second] = [plan(scheduler), plan(scheduler)]
  t.equal(describe(second), '1:1')
  commit(scheduler, first)
  const third = plan(scheduler)
  t.equal(describe(third), '1:1 2:1')
  t.equal(third.numBlockCopies, 1)
  commit(scheduler, second)
  commit(scheduler, third)
})

t.test('the source of a copy keeps its blocks until the copy is made', async (t) => {
  const scheduler = createScheduler({ maxStepsInFlight: 2 })
  const source = add(scheduler, 1, range(0, 6), { numChoices: 2, maxTokens: 2 })
  const [first, second] = [plan(scheduler), plan(scheduler)]
  commit(scheduler, first)
  const third = plan(scheduler)
  t.equal(describe(third), '2:1', 'the last token of 1 is in flight')
  commit(scheduler, second)
  t.equal(source.status, 'finished')
  t.equal(source.numBlocks, 2)
  commit(scheduler, third)
  t.equal(source.numBlocks, 0)
})

t.test('a choice computes for itself what no other can give it', async (t) => {
  const scheduler = createScheduler({ maxSequences: 1 })
  const first = add(scheduler, 1, range(0, 6), { numChoices: 2, maxTokens: 1 })
  t.equal(step(scheduler), '1:6')
  t.equal(first.status, 'finished')
  const alone = plan(scheduler)
  t.equal(describe(alone), '2:2', 'only the full block is left')
  t.equal(alone.numBlockCopies, 0)
  commit(scheduler, alone)
})

t.test('if the choice that computes goes, the next one takes over', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 11), { numChoices: 3 })
  t.equal(step(scheduler), '1:8')
  scheduler.abort(1)
  t.equal(step(scheduler), '2:3')
  t.equal(step(scheduler), '2:1 3:1')
})

t.test('one choice or all of them are aborted', async (t) => {
  const scheduler = createScheduler({ maxStepsInFlight: 2 })
  const first = add(scheduler, 5, range(0, 6), { numChoices: 4 })
  const [one, two] = [plan(scheduler), plan(scheduler)]
  commit(scheduler, one)
  const three = plan(scheduler)
  t.equal(describe(three), '5:1 6:1 7:1 8:1')
  t.ok(scheduler.abort(6))
  t.equal(scheduler.abortGroup(5, 4), 3)
  t.equal(scheduler.abortGroup(5, 4), 0)
  t.ok(first.choices.every((s) => s.status === 'finished'))
  commit(scheduler, two)
  commit(scheduler, three)
  t.match(scheduler.stats, { numUsedBlocks: 0, numRunning: 0, numWaiting: 0 })
})

t.test('a preempted choice comes back like any other sequence', async (t) => {
  const limits = { numBlocks: 6, maxContextLen: 24, maxTokensPerStep: 16 }
  const scheduler = createScheduler(limits)
  const first = add(scheduler, 1, range(0, 6), { numChoices: 2, maxTokens: 14 })
  const second = first.choices[1]!
  let numCopies = 0
  while (second.status !== 'finished') {
    const next = plan(scheduler)
    numCopies += next.numBlockCopies
    // Different answers, so that they share nothing but the prompt.
    scheduler.commit(
      next,
      Int32Array.from(next.rows, ({ sequence }) => sequence.id),
    )
    scheduler.checkIntegrity()
  }
  t.ok(second.numPreemptions > 0)
  t.equal(numCopies, 1, "its own answer is not in anybody's blocks")
  t.equal(second.numOutputTokens, 14)
})

t.test('after a reset of the cache nobody waits for, or copies, what was before', async (t) => {
  const scheduler = createScheduler({ maxSequences: 3 })
  add(scheduler, 1, range(0, 11), { numChoices: 2 })
  t.equal(step(scheduler), '1:8')
  t.equal(scheduler.resetPrefixCache(), 0, 'the blocks are in use')
  t.equal(step(scheduler), '1:3 2:5', 'the second computes the prompt as well')
  t.equal(step(scheduler), '1:1 2:6')
  scheduler.abortGroup(1, 2)
  t.equal(scheduler.stats.numCachedBlocks, 2, 'of the second, not of the first')
  t.equal(scheduler.resetPrefixCache(), 2)
  t.equal(scheduler.stats.numFreeBlocks, 16)
})

t.test('a sequence waits for room, also for what it would revive', async (t) => {
  const scheduler = createScheduler({ numBlocks: 6, maxContextLen: 24, maxTokensPerStep: 16 })
  add(scheduler, 1, range(0, 9), { maxTokens: 1 })
  step(scheduler)
  t.equal(scheduler.stats.numCachedBlocks, 2)
  const other = add(scheduler, 2, range(100, 11), { maxTokens: 6 })
  t.equal(step(scheduler), '2:11')
  add(scheduler, 3, range(0, 9), { maxTokens: 1 })
  t.equal(step(scheduler), '2:1', 'three blocks are left, one is reserved')
  while (other.status !== 'finished') step(scheduler)
  t.match(step(scheduler), /^3:/)
})

/** The first in line misses room, and is looked up in every step: its shared beginning only once. */
t.test('what was found for one that waits is found again only while it is published', async (t) => {
  const looked: number[] = []
  class Watched extends BlockPool {
    override matchPrefix(
      tenant: number,
      tokenIds: Int32Array,
      maxBlocks: number,
      blockTable: Int32Array,
      numKnown = 0,
    ): number {
      if (tokenIds[0] === 0) looked.push(numKnown)
      return super.matchPrefix(tenant, tokenIds, maxBlocks, blockTable, numKnown)
    }
  }
  const limits = { ...smallLimits, numBlocks: 8, maxContextLen: 32, maxTokensPerStep: 16 }
  const scheduler = new Scheduler(limits, new Watched(limits.numBlocks, limits.blockSize, 1))
  add(scheduler, 1, range(0, 9), { maxTokens: 1 })
  step(scheduler)
  const busy = add(scheduler, 2, range(100, 15), { maxTokens: 15 })
  step(scheduler)
  add(scheduler, 3, Int32Array.of(...range(0, 9), ...range(200, 6)))
  looked.length = 0
  t.equal(step(scheduler), '2:1')
  t.equal(step(scheduler), '2:1')
  t.same(looked, [0, 2])
  t.equal(scheduler.resetPrefixCache(), 2)
  t.equal(step(scheduler), '2:1')
  t.same(looked, [0, 2, 0])
  while (busy.status !== 'finished') step(scheduler)
  t.equal(step(scheduler), '3:15')
})

t.test('what was evicted for another is not taken for what was found', async (t) => {
  const scheduler = createScheduler({ numBlocks: 8, maxContextLen: 32, maxTokensPerStep: 16 })
  add(scheduler, 1, range(0, 9), { maxTokens: 1 })
  step(scheduler)
  const busy = add(scheduler, 2, range(100, 15), { maxTokens: 17 })
  step(scheduler)
  const waiting = add(scheduler, 3, Int32Array.of(...range(0, 9), ...range(200, 6)))
  t.equal(step(scheduler), '2:1')
  t.equal(waiting.numFoundBlocks, 2)
  while (busy.status !== 'finished') t.equal(step(scheduler), '2:1')
  t.ok(scheduler.stats.numEvictions > 0)
  const plan = scheduler.schedule()!
  t.ok(waiting.numCachedTokens < 8)
  commit(scheduler, plan)
})

t.test('a table is all blocks that the tokens ask for, or none', async (t) => {
  const take = (numBlocks: number) => {
    const sequence = makeSequence(1, { promptTokenIds: range(0, 11) })
    const pool = new BlockPool(numBlocks, 2, 0)
    const taken = takeTable(sequence, pool, new SequenceQueue(), new StepPlan(2), false)
    return [taken, sequence.numBlocks, pool.numUsedBlocks]
  }
  t.same(take(5), ['no_room', 0, 0])
  t.same(take(6), ['taken', 6, 6])
})

t.test('behind published blocks an equal prompt waits for the next one too', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 23))
  for (let i = 0; i < 2; i++) t.equal(step(scheduler), '1:8')
  add(scheduler, 2, range(0, 23))
  t.equal(step(scheduler), '1:7', 'four blocks are found, the fifth is being computed')
  t.equal(step(scheduler), '1:1 2:3')
})

t.test('equal tokens behind another block are not waited for', async (t) => {
  const scheduler = createScheduler({ maxTokensPerStep: 5 })
  const [start, middle, end] = [range(0, 4), range(100, 4), range(200, 9)]
  add(scheduler, 1, Int32Array.of(...start, ...range(300, 4), 9), { maxTokens: 1 })
  for (let i = 0; i < 2; i++) step(scheduler)
  add(scheduler, 2, Int32Array.of(...start, ...middle, ...end))
  t.equal(step(scheduler), '2:5', 'its first two blocks are published')
  add(scheduler, 3, Int32Array.of(...start, ...range(300, 4), ...end), { priority: -1 })
  t.equal(step(scheduler), '3:5')
})

t.test('one block in 64, or what is begun of 64, is kept for those that run', async (t) => {
  const take = (numBlocks: number, numRunning: number, numNeeded: number) => {
    const running = new SequenceQueue()
    for (let id = 2; id < 2 + numRunning; id++) running.pushBack(makeSequence(id))
    const sequence = makeSequence(1, { promptTokenIds: range(0, 2 * numNeeded) })
    const pool = new BlockPool(numBlocks, 2, 0)
    return takeTable(sequence, pool, running, new StepPlan(2), false)
  }
  t.equal(take(64, 3, 63), 'taken')
  t.equal(take(64, 3, 64), 'no_room')
  t.equal(take(65, 3, 63), 'taken')
  t.equal(take(65, 3, 64), 'no_room')
  t.equal(take(65, 1, 64), 'taken', 'not more than one for each')
  t.equal(take(65, 0, 65), 'taken')
})

t.test('the last block of a prompt is waited for when the prompt ends with it', async (t) => {
  const scheduler = createScheduler()
  add(scheduler, 1, range(0, 20))
  for (let i = 0; i < 2; i++) t.equal(step(scheduler), '1:8')
  add(scheduler, 2, range(0, 23))
  t.equal(step(scheduler), '1:4')
  t.equal(step(scheduler), '1:1 2:3')
})
