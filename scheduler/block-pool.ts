import { assert } from './assert.js'
import { BlockHash, rootParent } from './block-hash.js'
import { CachedBlocks } from './cached-blocks.js'
import { FreeList } from './free-list.js'

/**
 * All KV blocks, each in exactly one of three sets:
 *
 *          take            publish (stays used)
 *   free --------> used ---------------------------.
 *     ^             | ^                            |
 *     |   release   | |  share, or a prefix hit    | release of the last holder
 *     +-------------+ +---------------- cached <---+
 *     +------------------ evicted ---------+
 *
 *   free    holds nothing of use
 *   used    in at least one block table; its reference count is the number of tables
 *   cached  full, published under its key, in no table; kept until the room is needed
 *
 * A used block may be published too. Only published blocks are ever shared, and they are full, so
 * no block is written while two tables hold it.
 *
 * Eviction takes the cached block that was released longest ago, of a tenant above its share of the
 * cache if there is one. Tables are released from their end, and whoever holds a block holds its
 * parent, so a block always stands in that order before its parent: the deepest goes first, and a
 * block with published children is never taken.
 *
 * Every operation is O(1) in the pool's size.
 */
export class BlockPool {
  readonly numBlocks: number
  /** Tokens in a block. */
  readonly blockSize: number
  readonly #free: FreeList
  readonly #cached: CachedBlocks
  readonly #refCounts: Int32Array // [numBlocks]
  readonly #published: BlockHash
  #numUsedBlocks = 0
  #numEvictions = 0
  #root = rootParent

  /** `share`: cached blocks a tenant may have before its own are evicted first. */
  constructor(numBlocks: number, blockSize: number, hashSeed: number, share = numBlocks) {
    assert(Number.isInteger(numBlocks) && numBlocks >= 1, 'numBlocks must be 1 or more', numBlocks)
    assert(Number.isInteger(blockSize) && blockSize >= 1, 'blockSize must be 1 or more', blockSize)
    this.numBlocks = numBlocks
    this.blockSize = blockSize
    this.#free = new FreeList(numBlocks)
    this.#cached = new CachedBlocks(numBlocks, share)
    this.#refCounts = new Int32Array(numBlocks)
    this.#published = new BlockHash(numBlocks, blockSize, hashSeed)
    for (let blockId = 0; blockId < numBlocks; blockId++) this.#free.pushBack(blockId)
  }

  get numFreeBlocks(): number {
    return this.#free.length
  }

  get numCachedBlocks(): number {
    return this.#cached.length
  }

  get numUsedBlocks(): number {
    return this.#numUsedBlocks
  }

  /** Blocks that `take` can still hand out: free ones, then cached ones. */
  get numAvailableBlocks(): number {
    return this.#free.length + this.#cached.length
  }

  /**
   * What stands for the parent of a sequence's first block. It changes when the cache is reset; a
   * sequence keeps the one that it was admitted with.
   */
  get root(): number {
    return this.#root
  }

  /** Cached blocks given up so far because their room was needed. */
  get numEvictions(): number {
    return this.#numEvictions
  }

  /** How many block tables hold the block. */
  refCount(blockId: number): number {
    return this.#refCounts[blockId]!
  }

  isFree(blockId: number): boolean {
    return this.#free.has(blockId)
  }

  isCached(blockId: number): boolean {
    return this.#cached.has(blockId)
  }

  isPublished(blockId: number): boolean {
    return this.#published.has(blockId)
  }

  /** Whether the block is published under this key; the tokens are `tokenIds` from `start` on. */
  isPublishedAs(
    blockId: number,
    parentId: number,
    tenant: number,
    tokenIds: Int32Array,
    start: number,
  ): boolean {
    return this.#published.matches(blockId, parentId, tenant, tokenIds, start)
  }

  /** Equal numbers mean that the block, and its chain, stayed published in between; 0: it is not. */
  publicationOf(blockId: number): number {
    return this.#published.publicationOf(blockId)
  }

  /**
   * Finds the published blocks that hold the first tokens of `tokenIds`, at most `maxBlocks`, and
   * writes their ids to the front of `blockTable`. Returns how many. Takes none of them: the answer
   * is good until the pool changes, and `share` makes it last. The first `numKnown` blocks are in the
   * table already.
   */
  matchPrefix(
    tenant: number,
    tokenIds: Int32Array,
    maxBlocks: number,
    blockTable: Int32Array,
    numKnown = 0,
  ): number {
    let parentId = numKnown === 0 ? this.#root : blockTable[numKnown - 1]!
    for (let i = numKnown; i < maxBlocks; i++) {
      const blockId = this.#published.find(parentId, tenant, tokenIds, i * this.blockSize)
      if (blockId === -1) return i
      blockTable[i] = blockId
      parentId = blockId
    }
    return maxBlocks
  }

  /** Holds a published block once more. */
  share(blockId: number): void {
    assert(this.#published.has(blockId), 'a block was shared that is not full', blockId)
    if (this.#refCounts[blockId]!++ > 0) return
    this.#cached.remove(blockId)
    this.#numUsedBlocks++
  }

  /** A block to write to, held once: a free one, else the oldest cached one; -1 if all are used. */
  take(): number {
    let blockId = this.#free.takeFront()
    if (blockId === -1) {
      blockId = this.#cached.firstToEvict
      if (blockId === -1) return -1
      this.#cached.remove(blockId)
      this.#published.remove(blockId)
      this.#numEvictions++
    }
    assert(this.#refCounts[blockId] === 0, 'a block was handed out that a table holds', blockId)
    this.#refCounts[blockId] = 1
    this.#numUsedBlocks++
    return blockId
  }

  /**
   * Offers a block for reuse now that it is full and computed. Returns the block that the table
   * must hold from now on, so that the chain stays one chain: the same one or, if two sequences
   * computed the same tokens side by side, the one that was published first. In that case the
   * caller lets go of its own block, as soon as no step in flight reads it.
   */
  publish(
    blockId: number,
    parentId: number,
    tenant: number,
    tokenIds: Int32Array,
    start: number,
  ): number {
    assert(this.#refCounts[blockId] === 1, 'a block was published that is not held once', blockId)
    const twinId = this.#published.find(parentId, tenant, tokenIds, start)
    if (twinId === -1) {
      this.#published.insert(blockId, parentId, tenant, tokenIds, start)
      return blockId
    }
    assert(twinId !== blockId, 'a block was published twice', blockId)
    this.share(twinId)
    return twinId
  }

  /** Holds a block once less. Blocks of one table are released from its end to its front. */
  release(blockId: number): void {
    if (!this.#unhold(blockId)) return
    if (!this.#published.has(blockId)) this.#free.pushFront(blockId)
    else if (this.#published.rootOf(blockId) === this.#root) this.#cache(blockId)
    else this.#forget(blockId)
  }

  /**
   * Takes a published block that one table holds out of the reach of look-ups; it stays held. false
   * if others hold it or continue it: for them it was right.
   */
  withdraw(blockId: number): boolean {
    if (this.#refCounts[blockId] !== 1 || this.#published.numChildren(blockId) > 0) return false
    this.#published.remove(blockId)
    return true
  }

  /**
   * Makes everything computed so far unfindable, and returns how many cached blocks that freed.
   * Blocks in use stay published, under a root that no look-up starts from, until they are released.
   */
  reset(): number {
    const numCached = this.#cached.length
    for (let blockId = this.#cached.first; blockId !== -1; blockId = this.#cached.first) {
      this.#cached.remove(blockId)
      this.#forget(blockId)
    }
    this.#root--
    return numCached
  }

  /** Cached blocks of this tenant. */
  numCachedBlocksOf(tenant: number): number {
    return this.#cached.countOf(tenant)
  }

  /** Throws unless free + used + cached blocks are all blocks. O(1), so it runs after each step. */
  checkAccounting(): void {
    const numBlocks = this.#free.length + this.#numUsedBlocks + this.#cached.length
    assert(numBlocks === this.numBlocks, 'free, used and cached blocks do not add up', numBlocks)
  }

  /**
   * Throws unless the whole pool is consistent: the three sets are disjoint and complete, reference
   * counts equal the tables that hold a block, keys are found, eviction order is children first.
   * `numHolders[blockId]` is counted by the caller from its block tables. O(pool).
   */
  checkIntegrity(numHolders: Int32Array): void {
    this.checkAccounting()
    this.#published.checkIntegrity()
    this.#cached.checkIntegrity()
    let numUsed = 0
    for (let blockId = 0; blockId < this.numBlocks; blockId++) {
      const refCount = this.#refCounts[blockId]!
      assert(
        refCount === numHolders[blockId],
        'a reference count is not its tables; block',
        blockId,
      )
      const isFree = this.#free.has(blockId)
      const isCached = this.#cached.has(blockId)
      const numSets = (refCount > 0 ? 1 : 0) + (isFree ? 1 : 0) + (isCached ? 1 : 0)
      assert(numSets === 1, 'a block is not in exactly one of free, used and cached', blockId)
      const isPublished = this.#published.has(blockId)
      assert(!isFree || !isPublished, 'a free block is still published', blockId)
      assert(!isCached || isPublished, 'a cached block is not published', blockId)
      if (refCount > 0) numUsed++
    }
    assert(numUsed === this.#numUsedBlocks, 'the used blocks are miscounted', numUsed)
    this.#checkEvictionOrder()
  }

  #checkEvictionOrder(): void {
    const ranks = new Int32Array(this.numBlocks).fill(-1)
    let rank = 0
    for (let id = this.#cached.first; id !== -1; id = this.#cached.next(id)) ranks[id] = rank++
    for (let id = 0; id < this.numBlocks; id++) {
      if (!this.#published.has(id)) continue
      const parentId = this.#published.parentOf(id)
      if (parentId < 0) continue
      // A used child has a used parent; a cached one has a parent that is used or evicted later.
      const isInOrder =
        ranks[parentId] === -1 || (ranks[id] !== -1 && ranks[id]! < ranks[parentId]!)
      assert(isInOrder, 'a parent would be evicted before its child', id)
    }
  }

  #cache(blockId: number): void {
    this.#cached.push(blockId, this.#published.tenantOf(blockId))
  }

  #forget(blockId: number): void {
    this.#published.remove(blockId)
    this.#free.pushFront(blockId)
  }

  /** Takes one reference away and says whether it was the last. */
  #unhold(blockId: number): boolean {
    const refCount = this.#refCounts[blockId]!
    assert(refCount > 0, 'a block was released that no table holds', blockId)
    this.#refCounts[blockId] = refCount - 1
    if (refCount > 1) return false
    this.#numUsedBlocks--
    return true
  }
}
