import { assert } from './assert.js'
import { rootParent } from './block-hash.js'
import type { BlockPool } from './block-pool.js'
import type { FreeList } from './free-list.js'
import type { Sequence, SequenceQueue } from './sequence.js'

/** Everything a scheduler keeps, lent out for a check. */
export interface SchedulerState {
  readonly pool: BlockPool
  readonly samplerSlots: FreeList
  /** Every sequence that has not ended, by id. */
  readonly sequences: ReadonlyMap<number, Sequence>
  readonly waiting: SequenceQueue
  readonly running: SequenceQueue
  readonly isInFlight: boolean
}

/**
 * Throws a plain Error unless the state is consistent: each sequence is in one place, sampler slots
 * are unique, block tables are as long as their tokens ask for and agree with the keys, reference
 * counts equal the tables, and the pool's three sets add up. Changes nothing. O(pool + tokens that
 * run).
 */
export function checkIntegrity(state: SchedulerState): void {
  const { pool, samplerSlots, running, sequences } = state
  const numHolders = new Int32Array(pool.numBlocks)
  const usedSlots = new Set<number>()
  let numLive = checkWaiting(state)
  for (let s = running.first; s !== undefined; s = s.next) {
    const isAborted = s.status === 'finished' && state.isInFlight && s.numScheduledTokens > 0
    assert(s.status === 'running' || isAborted, 'an ended sequence still runs', s.id)
    const isKnown = sequences.get(s.id) === s
    assert(isKnown !== isAborted, 'a running sequence is not known by its id', s.id)
    if (!isAborted) numLive++
    assert(s.samplerSlot >= 0 && !samplerSlots.has(s.samplerSlot), 'a sampler slot is free', s.id)
    usedSlots.add(s.samplerSlot)
    checkTable(s, pool)
    for (let i = 0; i < s.numBlocks; i++) numHolders[s.blockTable[i]!]!++
  }
  assert(usedSlots.size === running.length, 'two sequences have one sampler slot')
  assert(numLive === sequences.size, 'the sequences are miscounted', numLive)
  pool.checkIntegrity(numHolders)
}

/** Returns how many wait. */
function checkWaiting({ waiting, sequences }: SchedulerState): number {
  let numWaiting = 0
  for (let s = waiting.first; s !== undefined; s = s.next) {
    const holdsNothing = s.numBlocks === 0 && s.numComputedTokens === 0 && s.samplerSlot === -1
    assert(holdsNothing && s.status === 'waiting', 'a waiting sequence holds something', s.id)
    assert(sequences.get(s.id) === s, 'a waiting sequence is not known by its id', s.id)
    numWaiting++
  }
  assert(numWaiting === waiting.length, 'the waiting sequences are miscounted', numWaiting)
  return numWaiting
}

function checkTable(s: Sequence, pool: BlockPool): void {
  const numNeeded = s.isProtected ? s.blockTable.length : Math.ceil(s.numTokens / pool.blockSize)
  // The token that was sampled last gets its block when it is scheduled.
  const isLate = !s.isProtected && s.numScheduledTokens === 0 && s.numBlocks === numNeeded - 1
  assert(s.numBlocks === numNeeded || isLate, 'a sequence has too many or too few blocks', s.id)
  assert(s.numComputedTokens < s.numTokens, 'a sequence computed tokens it has not', s.id)
  const numFull = Math.floor(s.numComputedTokens / pool.blockSize)
  assert(s.numPublishedBlocks === numFull, 'a full block is not published; sequence', s.id)
  for (let i = 0; i < s.numBlocks; i++) {
    const parentId = i === 0 ? rootParent : s.blockTable[i - 1]!
    const blockId = s.blockTable[i]!
    const isRight =
      i < numFull
        ? pool.isPublishedAs(blockId, parentId, s.tenant, s.tokenIds, i * pool.blockSize)
        : !pool.isPublished(blockId) && pool.refCount(blockId) === 1
    assert(isRight, 'a block table does not agree with the keys; sequence', s.id)
  }
}
