import { rootParent } from '../../../scheduler/block-hash.js'
import type { BlockPool } from '../../../scheduler/block-pool.js'
import { fail } from './life.js'
import { TagArray } from './tags.js'

/** The device's side of a pool: what lies in the blocks. */
export interface BlockContents {
  readonly tags: TagArray
  /** The block is free from now on. */
  poison(blockId: number): void
}

/** A pool with a second, plain opinion of each of its operations. */
export interface WatchedPool extends BlockPool {
  contents: BlockContents
  readonly counts: { numLookUps: number; numHits: number; numForeignHits: number; numTwins: number }
  /**
   * Throws unless the pool agrees with the plain model, and `numHolders[blockId]` tables hold each
   * block, or one more for a block that a twin took the place of. Clears `numHolders`.
   */
  compare(numHolders: Int32Array): void
  /** Blocks that twins took the place of and that nobody let go of yet. */
  readonly numReplaced: number
  /** Published blocks that continue this one. */
  numChildren(blockId: number): number
}

type Constructor = new (
  numBlocks: number,
  blockSize: number,
  hashSeed: number,
  share?: number,
) => WatchedPool

const classes = new WeakMap<typeof BlockPool, Constructor>()

/** The watched form of a pool's class. One for each, so that the engine compiles it once. */
export function watchedPoolClass(Base: typeof BlockPool): Constructor {
  let found = classes.get(Base)
  if (found === undefined) {
    found = makeClass(Base)
    classes.set(Base, found)
  }
  return found
}

/**
 * What the pool should be, in maps and counters that are slow and plain. A published block carries
 * the tag of its last token: it stands for the whole chain, and for the tenant.
 */
class PoolModel {
  readonly refCounts: Int32Array
  readonly isPublished: Uint8Array
  readonly tenants: Float64Array
  readonly roots: Int32Array
  readonly parents: Int32Array
  readonly numChildren: Int32Array
  readonly #keys: Float64Array
  /** Tag of the last token of each published block; one more as scratch. */
  readonly ends: TagArray
  readonly blocksByKey = new Map<number, number>()
  /** Cached blocks and their tenants, in the order of their release. */
  readonly cached = new Map<number, number>()
  readonly numCachedOf = new Map<number, number>()
  /** Tenants with more cached blocks than their share, in the order in which they came to that. */
  readonly aboveShare = new Set<number>()
  readonly replaced = new Set<number>()
  readonly blockSize: number
  readonly #share: number
  root = rootParent

  constructor(numBlocks: number, blockSize: number, share: number) {
    this.blockSize = blockSize
    this.#share = share
    this.refCounts = new Int32Array(numBlocks)
    this.isPublished = new Uint8Array(numBlocks)
    this.tenants = new Float64Array(numBlocks)
    this.roots = new Int32Array(numBlocks)
    this.parents = new Int32Array(numBlocks)
    this.numChildren = new Int32Array(numBlocks)
    this.#keys = new Float64Array(numBlocks)
    this.ends = new TagArray(numBlocks + 1)
  }

  /** The key of a block behind `parentId`, and in `ends[numBlocks]` the tag of its last token. */
  keyOf(parentId: number, tenant: number, tokenIds: Int32Array, start: number): number {
    const { ends, blockSize } = this
    const scratch = ends.length - 1
    const isFirst = parentId < 0
    ends.chain(scratch, ends, isFirst ? -1 : parentId, tokenIds[start]!, start, tenant)
    for (let i = start + 1; i < start + blockSize; i++) {
      ends.chain(scratch, ends, scratch, tokenIds[i]!, i, tenant)
    }
    return ends.key(scratch, isFirst ? parentId : this.roots[parentId]!)
  }

  /** After `keyOf`. */
  publish(blockId: number, parentId: number, tenant: number, key: number): void {
    this.isPublished[blockId] = 1
    this.tenants[blockId] = tenant
    this.parents[blockId] = parentId
    this.roots[blockId] = parentId < 0 ? parentId : this.roots[parentId]!
    if (parentId >= 0) this.numChildren[parentId]!++
    this.#keys[blockId] = key
    this.ends.set(blockId, this.ends, this.ends.length - 1)
    this.blocksByKey.set(key, blockId)
  }

  unpublish(blockId: number): void {
    if (this.numChildren[blockId]! > 0) fail(`block ${blockId} went before its children`)
    this.isPublished[blockId] = 0
    const parentId = this.parents[blockId]!
    if (parentId >= 0) this.numChildren[parentId]!--
    this.blocksByKey.delete(this.#keys[blockId]!)
  }

  addCached(blockId: number): void {
    const tenant = this.tenants[blockId]!
    const numCached = (this.numCachedOf.get(tenant) ?? 0) + 1
    this.cached.set(blockId, tenant)
    this.numCachedOf.set(tenant, numCached)
    if (numCached > this.#share) this.aboveShare.add(tenant)
  }

  removeCached(blockId: number): void {
    const tenant = this.cached.get(blockId)
    if (tenant === undefined) return
    const numCached = this.numCachedOf.get(tenant)! - 1
    this.cached.delete(blockId)
    if (numCached === 0) this.numCachedOf.delete(tenant)
    else this.numCachedOf.set(tenant, numCached)
    if (numCached <= this.#share) this.aboveShare.delete(tenant)
  }

  /** The block that has to go when none is free; -1 if there is none. */
  get firstToEvict(): number {
    const [tenant] = this.aboveShare
    for (const [blockId, owner] of this.cached) {
      if (tenant === undefined || owner === tenant) return blockId
    }
    return -1
  }
}

function makeClass(Base: typeof BlockPool): Constructor {
  return class extends Base implements WatchedPool {
    contents!: BlockContents
    readonly counts = { numLookUps: 0, numHits: 0, numForeignHits: 0, numTwins: 0 }
    readonly #model: PoolModel

    constructor(numBlocks: number, blockSize: number, hashSeed: number, share = numBlocks) {
      super(numBlocks, blockSize, hashSeed, share)
      this.#model = new PoolModel(numBlocks, blockSize, share)
    }

    get numReplaced(): number {
      return this.#model.replaced.size
    }

    numChildren(blockId: number): number {
      return this.#model.numChildren[blockId]!
    }

    override matchPrefix(
      tenant: number,
      tokenIds: Int32Array,
      maxBlocks: number,
      blockTable: Int32Array,
      numKnown = 0,
    ): number {
      const numHits = super.matchPrefix(tenant, tokenIds, maxBlocks, blockTable, numKnown)
      const model = this.#model
      this.counts.numLookUps++
      this.counts.numHits += numHits - numKnown
      let parentId = numKnown === 0 ? model.root : blockTable[numKnown - 1]!
      for (let i = numKnown; i < Math.min(maxBlocks, numHits + 1); i++) {
        const key = model.keyOf(parentId, tenant, tokenIds, i * this.blockSize)
        const expected = model.blocksByKey.get(key)
        if (i === numHits) {
          if (expected !== undefined) fail(`the published block ${expected} was not found`)
          break
        }
        const blockId = blockTable[i]!
        if (model.tenants[blockId] !== tenant) this.counts.numForeignHits++
        if (expected !== blockId) fail(`block ${blockId} was found for other tokens, or a stranger`)
        parentId = blockId
      }
      return numHits
    }

    override share(blockId: number): void {
      super.share(blockId)
      const model = this.#model
      if (model.isPublished[blockId] === 0) fail(`block ${blockId} is shared, and not published`)
      model.refCounts[blockId]!++
      model.removeCached(blockId)
    }

    override take(): number {
      const model = this.#model
      const hadFree = this.numFreeBlocks > 0
      const blockId = super.take()
      if (!hadFree) {
        const expected = model.firstToEvict
        if (blockId !== expected) fail(`block ${blockId} was evicted, not ${expected}`)
        if (blockId === -1) return -1
        model.removeCached(blockId)
        model.unpublish(blockId)
        this.contents.poison(blockId)
      }
      const isFree = model.refCounts[blockId] === 0 && model.isPublished[blockId] === 0
      if (!isFree) fail(`block ${blockId} was handed out, and is not free`)
      model.refCounts[blockId] = 1
      return blockId
    }

    override publish(
      blockId: number,
      parentId: number,
      tenant: number,
      tokenIds: Int32Array,
      start: number,
    ): number {
      const model = this.#model
      const keptId = super.publish(blockId, parentId, tenant, tokenIds, start)
      const isBehind = parentId < 0 || model.isPublished[parentId] === 1
      if (!isBehind) fail(`block ${blockId} was published behind ${parentId}, which is not`)
      const key = model.keyOf(parentId, tenant, tokenIds, start)
      const { tags } = this.contents
      if (!tags.equals((blockId + 1) * this.blockSize - 1, model.ends, model.ends.length - 1)) {
        fail(`block ${blockId} was published, and holds something else`)
      }
      const expected = model.blocksByKey.get(key) ?? blockId
      if (keptId !== expected) fail(`block ${keptId} was published, not ${expected}`)
      if (keptId === blockId) model.publish(blockId, parentId, tenant, key)
      else {
        model.replaced.add(blockId)
        this.counts.numTwins++
      }
      return keptId
    }

    override release(blockId: number): void {
      super.release(blockId)
      const model = this.#model
      model.replaced.delete(blockId)
      const refCount = --model.refCounts[blockId]!
      if (refCount < 0) fail(`block ${blockId} was released that nobody holds`)
      if (refCount > 0) return
      const isPublished = model.isPublished[blockId] === 1
      if (isPublished && model.roots[blockId] === model.root) {
        model.addCached(blockId)
        return
      }
      if (isPublished) model.unpublish(blockId)
      this.contents.poison(blockId)
    }

    override withdraw(blockId: number): boolean {
      const { refCounts, numChildren } = this.#model
      const isAlone = refCounts[blockId] === 1 && numChildren[blockId] === 0
      const isWithdrawn = super.withdraw(blockId)
      if (isWithdrawn !== isAlone) fail(`block ${blockId} was withdrawn: ${isWithdrawn}`)
      if (isWithdrawn) this.#model.unpublish(blockId)
      return isWithdrawn
    }

    override reset(): number {
      const model = this.#model
      const numFreed = super.reset()
      if (numFreed !== model.cached.size) fail(`${numFreed} blocks were freed by a reset`)
      // Children were released before their parents, so this order never meets a parent first.
      for (const blockId of [...model.cached.keys()]) {
        model.removeCached(blockId)
        model.unpublish(blockId)
        this.contents.poison(blockId)
      }
      model.root--
      return numFreed
    }

    compare(numHolders: Int32Array): void {
      const { refCounts, replaced, cached } = this.#model
      let numUsed = 0
      for (let blockId = 0; blockId < numHolders.length; blockId++) {
        const refCount = refCounts[blockId]!
        const numKnown = numHolders[blockId]!
        numHolders[blockId] = 0
        if (refCount > 0) numUsed++
        if (refCount !== this.refCount(blockId)) {
          fail(`block ${blockId} counts ${this.refCount(blockId)} tables, not ${refCount}`)
        }
        if (refCount !== numKnown && refCount !== numKnown + (replaced.has(blockId) ? 1 : 0)) {
          fail(`block ${blockId} is held ${numKnown} times and counts ${refCount}`)
        }
      }
      if (numUsed !== this.numUsedBlocks) fail(`${this.numUsedBlocks} blocks are used`)
      if (cached.size !== this.numCachedBlocks) fail(`${this.numCachedBlocks} blocks are cached`)
      const numFree = numHolders.length - numUsed - cached.size
      if (numFree !== this.numFreeBlocks) fail(`${this.numFreeBlocks} blocks are free`)
    }
  }
}
