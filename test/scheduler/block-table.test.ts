import t from 'tap'
import { BlockPool } from '../../scheduler/block-pool.js'
import {
  growTable,
  needsBlock,
  publishFullBlocks,
  releaseTable,
  withdrawBlocks,
} from '../../scheduler/block-table.js'
import type { Sequence } from '../../scheduler/sequence.js'
import { makeSequence } from './simulation/make-sequence.js'

const blockSize = 2

/** A sequence that has computed so many tokens, in blocks of its own. */
function compute(pool: BlockPool, id: number, numTokens: number): Sequence {
  const sequence = makeSequence(id, { promptTokenIds: Int32Array.of(1, 2, 3, 4, 5) })
  for (let i = 0; i < numTokens; i++) {
    if (needsBlock(sequence, blockSize)) growTable(sequence, pool)
    sequence.numPlannedTokens++
    sequence.numComputedTokens++
  }
  return sequence
}

t.test('a table grows when the next token has no block', async (t) => {
  const pool = new BlockPool(2, blockSize, 0)
  const sequence = compute(pool, 1, 3)
  t.equal(sequence.numBlocks, 2)
  t.notOk(needsBlock(sequence, blockSize))
  sequence.numPlannedTokens++
  t.ok(needsBlock(sequence, blockSize))
  t.throws(() => growTable(sequence, pool), /no block is left for a decode; sequence: 1/)
})

t.test('full blocks are published, and twins take the place of what came later', async (t) => {
  const pool = new BlockPool(6, blockSize, 0)
  const [first, second] = [compute(pool, 1, 3), compute(pool, 2, 4)]
  const own = [...second.blockTable]
  const fence: number[] = []
  publishFullBlocks(first, pool, fence)
  t.same(fence, [])
  t.equal(first.numPublishedBlocks, 1)
  publishFullBlocks(second, pool, fence)
  t.same(fence, [own[0]])
  t.equal(second.blockTable[0], first.blockTable[0])
  t.equal(second.blockTable[1], own[1])
  t.equal(second.numPublishedBlocks, 2)
})

t.test('what only a failed sequence computed is not kept', async (t) => {
  const pool = new BlockPool(6, blockSize, 0)
  const [first, second] = [compute(pool, 1, 4), compute(pool, 2, 5)]
  publishFullBlocks(first, pool)
  releaseTable(first, pool)
  t.match(first, { numBlocks: 0, numPublishedBlocks: 0, numComputedTokens: 0, numPlannedTokens: 0 })
  t.equal(pool.numCachedBlocks, 2)
  publishFullBlocks(second, pool)
  t.equal(pool.numUsedBlocks, 3, 'its own blocks went back for twins')
  withdrawBlocks(second, pool)
  t.equal(second.numPublishedBlocks, 0)
  t.equal(pool.numUsedBlocks, 3, 'it still holds them')
  releaseTable(second, pool)
  t.equal(pool.numFreeBlocks, 6)
})
