import { assert } from './assert.js'
import type { BlockPool } from './block-pool.js'
import type { FreeList } from './free-list.js'
import type { Sequence } from './sequence.js'
import type { SequenceQueue } from './sequence-queue.js'
import type { StepsInFlight } from './steps-in-flight.js'
import type { Tenants } from './tenants.js'
import type { WaitingLine } from './waiting-line.js'

/** Everything a scheduler keeps, lent out for a check. */
export interface SchedulerState {
  readonly pool: BlockPool
  readonly samplerSlots: FreeList
  /** Every sequence that has not ended, by id. */
  readonly sequences: ReadonlyMap<number, Sequence>
  readonly tenants: Tenants
  readonly waiting: WaitingLine
  readonly running: SequenceQueue
  readonly steps: StepsInFlight
}

/**
 * Throws a plain Error unless the state is consistent: each sequence is in one place, sampler slots
 * are unique, block tables are as long as their tokens ask for and agree with the keys, reference
 * counts equal the tables, and the pool's three sets add up. Changes nothing. O(pool + tokens that
 * run).
 */
export function checkIntegrity(state: SchedulerState): void {
  const { pool, running, sequences, steps } = state
  const { leaving } = steps
  const numHolders = new Int32Array(pool.numBlocks)
  const usedSlots = new Set<number>()
  const numWaiting = checkWaiting(state)
  for (let s = running.first; s !== undefined; s = s.next) {
    assert(s.status === 'running', 'an ended sequence still runs', s.id)
    assert(sequences.get(s.id) === s, 'a running sequence is not known by its id', s.id)
    checkProgress(s, state)
    checkHolding(s, state, usedSlots, numHolders)
  }
  for (let s = leaving.first; s !== undefined; s = s.next) {
    assert(s.status === 'finished', 'a sequence leaves that has not ended', s.id)
    assert(sequences.get(s.id) !== s, 'an ended sequence is still known by its id', s.id)
    assert(steps.has(s), 'an ended sequence holds more than a step has', s.id)
    checkHolding(s, state, usedSlots, numHolders)
  }
  const numSlots = running.length + leaving.length
  assert(usedSlots.size === numSlots, 'two sequences have one sampler slot')
  const numLive = numWaiting + running.length
  assert(numLive === sequences.size, 'the sequences are miscounted', numLive)
  checkFenced(state, numHolders)
  checkTenants(state)
  pool.checkIntegrity(numHolders)
}

/** Returns how many wait. */
function checkWaiting({ waiting, sequences }: SchedulerState): number {
  waiting.checkIntegrity()
  for (const s of waiting.values()) {
    const numHeld = s.numBlocks + s.numPlannedTokens + s.numComputedTokens + s.numPendingTokens
    const holdsNothing = numHeld === 0 && s.samplerSlot === -1 && s.status === 'waiting'
    assert(holdsNothing, 'a waiting sequence holds something', s.id)
    assert(sequences.get(s.id) === s, 'a waiting sequence is not known by its id', s.id)
  }
  return waiting.length
}

/** What holds for a sequence that runs, but not for one that has ended with steps in flight. */
function checkProgress(s: Sequence, { pool, steps }: SchedulerState): void {
  const { blockSize } = pool
  const numStepsOfIt = Math.max(0, s.lastStep - steps.numCommitted)
  assert(s.lastStep <= steps.numPlanned, 'a sequence is in a step that was not planned', s.id)
  assert(s.numPendingTokens <= numStepsOfIt, 'a token is pending that no step samples', s.id)
  assert(s.numComputedTokens < s.numTokens, 'a sequence computed tokens it has not', s.id)
  const isInFlight = s.numPlannedTokens > s.numComputedTokens
  assert(isInFlight === numStepsOfIt > 0, 'planned tokens disagree with the steps', s.id)
  assert(s.numUnplannedTokens >= 1, 'tokens are planned that nobody samples; sequence', s.id)

  // A prompt takes all its blocks at admission, a decode each when its token is planned.
  const isPrefill = s.numUnplannedTokens > 1
  const numNeeded = Math.ceil((isPrefill ? s.numTokens : s.numPlannedTokens) / blockSize)
  const isEarly = !isPrefill && s.numBlocks === Math.ceil((s.numPlannedTokens + 1) / blockSize)
  const isRight = s.isProtected
    ? s.numBlocks === s.blockTable.length
    : s.numBlocks === numNeeded || isEarly
  assert(isRight, 'a sequence has too many or too few blocks', s.id)
  const numFull = Math.floor(s.numComputedTokens / blockSize)
  assert(s.numPublishedBlocks === numFull, 'a full block is not published; sequence', s.id)
}

/** Its sampler slot is its own, its table agrees with the keys. Counts its blocks. */
function checkHolding(
  s: Sequence,
  { pool, samplerSlots }: SchedulerState,
  usedSlots: Set<number>,
  numHolders: Int32Array,
): void {
  assert(s.samplerSlot >= 0 && !samplerSlots.has(s.samplerSlot), 'a sampler slot is free', s.id)
  usedSlots.add(s.samplerSlot)
  for (let i = 0; i < s.numBlocks; i++) {
    const parentId = i === 0 ? s.root : s.blockTable[i - 1]!
    const blockId = s.blockTable[i]!
    const isRight =
      i < s.numPublishedBlocks
        ? pool.isPublishedAs(blockId, parentId, s.tenant, s.tokenIds, i * pool.blockSize)
        : !pool.isPublished(blockId) && pool.refCount(blockId) === 1
    assert(isRight, 'a block table does not agree with the keys; sequence', s.id)
    numHolders[blockId]!++
  }
}

function checkFenced({ pool, steps }: SchedulerState, numHolders: Int32Array): void {
  const { fencedBlocks } = steps
  const isFencing = steps.length > 0 || fencedBlocks.length === 0
  assert(isFencing, 'a block is fenced, and no step is in flight', fencedBlocks[0])
  for (const blockId of fencedBlocks) {
    assert(!pool.isPublished(blockId), 'a fenced block is published', blockId)
    numHolders[blockId]!++
  }
}

/** Each sequence is on its own tenant's account, and none is on two. */
function checkTenants({ sequences, tenants, waiting }: SchedulerState): void {
  tenants.checkIntegrity(waiting.quantum)
  const numLive = new Map<number, number>()
  for (const s of sequences.values()) {
    assert(s.account === tenants.find(s.tenant), "a sequence is on a stranger's account", s.id)
    const sign = s.status === 'waiting' ? 1 : 2 ** 24
    numLive.set(s.tenant, (numLive.get(s.tenant) ?? 0) + sign)
  }
  for (const { tenant, numWaiting, numRunning } of tenants.values()) {
    const isRight = numLive.get(tenant) === numWaiting + 2 ** 24 * numRunning
    assert(isRight, 'the sequences of a tenant are miscounted', tenant)
  }
}
