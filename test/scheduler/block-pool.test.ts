import fc from 'fast-check'
import t from 'tap'
import { rootParent } from '../../scheduler/block-hash.js'
import { BlockPool } from '../../scheduler/block-pool.js'
import { poolCommands, startPool } from './simulation/pool-commands.js'

const tokens = Int32Array.of(1, 2, 3, 4, 5, 6)

/** A pool of blocks of 2 tokens whose first blocks are published and cached: 1 2, 3 4, 5 6. */
function poolWithCachedChain(numBlocks: number): { pool: BlockPool; chain: number[] } {
  const pool = new BlockPool(numBlocks, 2, 0)
  const chain = [pool.take(), pool.take(), pool.take()]
  chain.forEach((id, i) => {
    pool.publish(id, i === 0 ? rootParent : chain[i - 1]!, 0, tokens, 2 * i)
  })
  for (const id of [...chain].reverse()) pool.release(id)
  return { pool, chain }
}

t.test('sizes are checked', async (t) => {
  t.throws(() => new BlockPool(0, 16, 0), /numBlocks must be 1 or more: 0/)
  t.throws(() => new BlockPool(4.5, 16, 0), /numBlocks must be 1 or more: 4.5/)
  t.throws(() => new BlockPool(4, 0, 0), /blockSize must be 1 or more: 0/)
  t.throws(() => new BlockPool(4, 1.5, 0), /blockSize must be 1 or more: 1.5/)
})

t.test('every block is handed out once, then none', async (t) => {
  const pool = new BlockPool(3, 2, 0)
  t.same(new Set([pool.take(), pool.take(), pool.take()]), new Set([0, 1, 2]))
  t.equal(pool.take(), -1)
  t.equal(pool.numUsedBlocks, 3)
  pool.release(1)
  t.ok(pool.isFree(1))
  t.equal(pool.take(), 1)
  pool.checkIntegrity(Int32Array.of(1, 1, 1))
})

t.test('a published block is found, shared, and kept after its last release', async (t) => {
  const { pool, chain } = poolWithCachedChain(4)
  const table = new Int32Array(3)
  t.equal(pool.matchPrefix(0, tokens, 3, table), 3)
  t.same([...table], chain)
  t.equal(pool.matchPrefix(0, tokens, 2, table), 2, 'not more than asked for')
  t.equal(pool.matchPrefix(1, tokens, 3, table), 0, 'nothing of another tenant')
  t.equal(pool.numCachedBlocks, 3, 'a match takes nothing')

  pool.share(chain[0]!)
  pool.share(chain[0]!)
  t.equal(pool.refCount(chain[0]!), 2)
  t.equal(pool.numUsedBlocks, 1)
  pool.release(chain[0]!)
  t.notOk(pool.isCached(chain[0]!))
  pool.release(chain[0]!)
  t.ok(pool.isCached(chain[0]!))
})

t.test('free blocks go first, then the deepest of the oldest chain', async (t) => {
  const { pool, chain } = poolWithCachedChain(4)
  const [root, middle, deepest] = chain
  t.notOk(chain.includes(pool.take()))
  t.equal(pool.numEvictions, 0)
  t.equal(pool.take(), deepest)
  t.equal(pool.take(), middle)
  t.equal(pool.take(), root)
  t.equal(pool.take(), -1)
  t.equal(pool.numEvictions, 3)
  t.equal(pool.matchPrefix(0, tokens, 3, new Int32Array(3)), 0)
})

t.test('a hit makes a chain young again', async (t) => {
  const pool = new BlockPool(2, 2, 0)
  const [old, young] = [pool.take(), pool.take()]
  pool.publish(old, rootParent, 0, tokens, 0)
  pool.publish(young, rootParent, 0, tokens, 2)
  pool.release(old)
  pool.release(young)
  pool.share(old)
  pool.release(old)
  t.equal(pool.take(), young)
})

t.test('of two blocks with equal content one remains', async (t) => {
  const pool = new BlockPool(3, 2, 0)
  const [first, second] = [pool.take(), pool.take()]
  t.equal(pool.publish(first, rootParent, 0, tokens, 0), first)
  t.equal(pool.publish(second, rootParent, 0, tokens, 0), first)
  t.notOk(pool.isFree(second), 'a step in flight may still read it')
  pool.release(second)
  t.ok(pool.isFree(second))
  t.equal(pool.refCount(first), 2)
  t.ok(pool.isPublishedAs(first, rootParent, 0, tokens, 0))
  t.notOk(pool.isPublished(second))
})

t.test('a withdrawn block stays held and is found by nobody', async (t) => {
  const { pool, chain } = poolWithCachedChain(4)
  const [root, middle, deepest] = chain as [number, number, number]
  for (const id of chain) pool.share(id)
  pool.share(deepest)
  t.notOk(pool.withdraw(deepest), 'somebody else holds it')
  pool.release(deepest)
  t.notOk(pool.withdraw(middle), 'its child can be found')
  t.ok(pool.withdraw(deepest))
  t.equal(pool.matchPrefix(0, tokens, 3, new Int32Array(3)), 2)
  t.equal(pool.refCount(deepest), 1)
  for (const id of [deepest, middle, root]) pool.release(id)
  t.ok(pool.isFree(deepest))
  pool.checkIntegrity(new Int32Array(4))
})

t.test('what must not happen throws', async (t) => {
  const pool = new BlockPool(3, 2, 0)
  const id = pool.take()
  t.throws(() => pool.share(id), /shared that is not full: 0/)
  t.throws(() => pool.publish(1, rootParent, 0, tokens, 0), /not held once: 1/)
  pool.publish(id, rootParent, 0, tokens, 0)
  t.throws(() => pool.publish(id, rootParent, 0, tokens, 0), /published twice: 0/)
  pool.release(id)
  t.throws(() => pool.release(id), /released that no table holds: 0/)
})

t.test('checkIntegrity compares the counts with the tables', async (t) => {
  const { pool, chain } = poolWithCachedChain(4)
  pool.share(chain[0]!)
  t.throws(() => pool.checkIntegrity(new Int32Array(4)), /not its tables; block: 0/)
  t.doesNotThrow(() => pool.checkIntegrity(Int32Array.of(1, 0, 0, 0)))
})

t.test('checkIntegrity sees a child that would outlive its parent', async (t) => {
  const { pool, chain } = poolWithCachedChain(4)
  const [root, middle, deepest] = chain as [number, number, number]
  for (const id of chain) pool.share(id)
  for (const id of [root, middle, deepest]) pool.release(id)
  t.throws(() => pool.checkIntegrity(new Int32Array(4)), /evicted before its child: 1/)
  t.throws(() => pool.take() + pool.take(), /before the blocks that continue it: 0/)
})

t.test('a tenant above its share of the cache is evicted first', async (t) => {
  const pool = new BlockPool(4, 2, 0, 1)
  const ids = [0, 1, 1].map((tenant, i) => {
    const id = pool.take()
    pool.publish(id, rootParent, tenant, tokens, 2 * i)
    return id
  })
  for (const id of ids) pool.release(id)
  t.equal(pool.numCachedBlocksOf(1), 2)
  t.notOk(ids.includes(pool.take()))
  t.equal(pool.take(), ids[1])
  t.equal(pool.take(), ids[0], 'then the oldest')
})

t.test('after a reset nothing is found, and what is in use is not kept', async (t) => {
  const { pool, chain } = poolWithCachedChain(6)
  const [root, middle, deepest] = chain as [number, number, number]
  pool.share(root)
  pool.share(middle)
  t.equal(pool.reset(), 1)
  t.ok(pool.isFree(deepest))
  t.ok(pool.isPublishedAs(middle, root, 0, tokens, 2), 'its holder may build on it')
  t.equal(pool.matchPrefix(0, tokens, 3, new Int32Array(3)), 0)

  const late = pool.take()
  t.equal(pool.publish(late, middle, 0, tokens, 4), late)
  const fresh = pool.take()
  t.equal(pool.publish(fresh, pool.root, 0, tokens, 0), fresh, 'no twin of the old one')
  t.equal(pool.matchPrefix(0, tokens, 3, new Int32Array(3)), 1)
  pool.release(late)
  pool.release(middle)
  pool.release(root)
  pool.release(fresh)
  t.match(pool, { numFreeBlocks: 5, numCachedBlocks: 1 })
  pool.checkIntegrity(new Int32Array(6))
})

t.test('behaves like a slow model under any commands', async (t) => {
  fc.assert(
    fc.property(fc.commands(poolCommands, { size: 'large', maxCommands: 100 }), (commands) => {
      fc.modelRun(startPool, commands)
    }),
    { seed: 7, numRuns: 400 },
  )
  t.pass('400 random command sequences')
})

t.test('checkIntegrity sees a key under which nothing can be found', async (t) => {
  const pool = new BlockPool(2, 2, 0)
  const blockId = pool.take()
  // A number that is not equal to itself.
  pool.publish(blockId, pool.root, Number.NaN, Int32Array.of(1, 2), 0)
  const numHolders = Int32Array.of(1, 0)
  t.throws(() => pool.checkIntegrity(numHolders), /not found under its key; block: 0/)
})

t.test('a look-up goes no further than it is asked to', async (t) => {
  const { pool, chain } = poolWithCachedChain(4)
  const blockTable = new Int32Array(3).fill(-1)
  t.equal(pool.matchPrefix(0, tokens, 2, blockTable), 2)
  t.same([...blockTable], [...chain.slice(0, 2), -1])
})

t.test('checkAccounting sees that a block is missing', async (t) => {
  const pool = new BlockPool(2, 2, 0)
  Object.assign(pool, { numBlocks: 3 })
  t.throws(() => pool.checkAccounting(), /do not add up: 2/)
})

t.test('the smallest pool is one block of one token', async (t) => {
  const pool = new BlockPool(1, 1, 0)
  t.equal(pool.take(), 0)
  t.equal(pool.take(), -1)
})
