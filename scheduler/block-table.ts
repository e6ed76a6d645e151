import { assert } from './assert.js'
import type { BlockPool } from './block-pool.js'
import type { Sequence } from './sequence.js'

/** Whether the next token of a sequence goes to a block that it does not hold yet. */
export function needsBlock(sequence: Sequence, blockSize: number): boolean {
  return sequence.numPlannedTokens === sequence.numBlocks * blockSize
}

/** Appends a block to a table. The pool must have one. */
export function growTable(sequence: Sequence, pool: BlockPool): void {
  const blockId = pool.take()
  assert(blockId !== -1, 'no block is left for a decode; sequence', sequence.id)
  sequence.blockTable[sequence.numBlocks++] = blockId
}

/**
 * Offers the blocks for reuse that became full: computed, with every token known, and never to be
 * written again. Where a twin was published first the table takes that one, and its own block goes
 * back, or behind the fence if a step in flight reads it.
 */
export function publishFullBlocks(sequence: Sequence, pool: BlockPool, fence?: number[]): void {
  const { tenant, tokenIds, blockTable } = sequence
  const { blockSize } = pool
  let start = sequence.numPublishedBlocks * blockSize
  while (start + blockSize <= sequence.numComputedTokens) {
    const i = sequence.numPublishedBlocks++
    const parentId = i === 0 ? sequence.root : blockTable[i - 1]!
    const ownId = blockTable[i]!
    const keptId = pool.publish(ownId, parentId, tenant, tokenIds, start)
    if (keptId !== ownId) {
      blockTable[i] = keptId
      if (fence === undefined) pool.release(ownId)
      else fence.push(ownId)
    }
    start += blockSize
  }
}

/**
 * What only a failed sequence computed is found by nobody from now on, also while a step in flight
 * still has it.
 */
export function withdrawBlocks(sequence: Sequence, pool: BlockPool): void {
  // From the end, so that no block that is still published continues one that is not.
  while (sequence.numPublishedBlocks > 0) {
    if (!pool.withdraw(sequence.blockTable[sequence.numPublishedBlocks - 1]!)) return
    sequence.numPublishedBlocks--
  }
}

/** Lets go of every block. */
export function releaseTable(sequence: Sequence, pool: BlockPool): void {
  // From the end, so that the deepest block of a chain is evicted first.
  for (let i = sequence.numBlocks - 1; i >= 0; i--) pool.release(sequence.blockTable[i]!)
  sequence.numBlocks = 0
  sequence.numPublishedBlocks = 0
  sequence.numComputedTokens = 0
  sequence.numPlannedTokens = 0
}
