import { assert } from './assert.js'

const noBlock = -1
const noKey = -(2 ** 31)

/**
 * The parent of a block that holds the first tokens of a sequence. Every negative number above noKey
 * is a root of its own: chains under different roots have nothing in common.
 */
export const rootParent = -1

/**
 * The published blocks by their key (parent block id, tenant, the block's tokens).
 *
 * The key is exact: a seeded integer mix only chooses the bucket, and every candidate is compared
 * in full. So a collision costs a comparison and can never hand out somebody else's block. The
 * parent's id stands for everything before the block; that is sound because a block with published
 * children is never unpublished, hence an id in a key cannot come to mean other tokens.
 *
 * All memory is taken by the constructor: 4 * blockSize + 40 bytes a block, and 8 to 16 of buckets.
 */
export class BlockHash {
  readonly #blockSize: number
  readonly #seed: number
  /** Odd, and secret like the seed: equal sums for one process are not equal for the next. */
  readonly #multiplier: number
  readonly #buckets: Int32Array // [power of two], first block of the bucket or noBlock
  readonly #nextInBucket: Int32Array // [numBlocks]
  readonly #hashes: Int32Array // [numBlocks]
  readonly #parents: Int32Array // [numBlocks], noKey if the block is not published
  readonly #roots: Int32Array // [numBlocks], the negative number at the start of the chain
  readonly #tenants: Float64Array // [numBlocks]
  readonly #publications: Float64Array // [numBlocks], the number of its last publication
  readonly #tokenIds: Int32Array // [numBlocks, blockSize]
  readonly #numChildren: Int32Array // [numBlocks], published blocks whose parent this is
  #numPublished = 0
  #numPublications = 0

  constructor(numBlocks: number, blockSize: number, hashSeed: number) {
    this.#blockSize = blockSize
    this.#seed = avalanche(hashSeed | 0)
    this.#multiplier = avalanche(this.#seed ^ highWord(hashSeed) ^ 0x5bd1e995) | 1
    this.#buckets = new Int32Array(powerOfTwoFrom(2 * numBlocks)).fill(noBlock)
    this.#nextInBucket = new Int32Array(numBlocks).fill(noBlock)
    this.#hashes = new Int32Array(numBlocks)
    this.#parents = new Int32Array(numBlocks).fill(noKey)
    this.#roots = new Int32Array(numBlocks)
    this.#tenants = new Float64Array(numBlocks)
    this.#publications = new Float64Array(numBlocks)
    this.#tokenIds = new Int32Array(numBlocks * blockSize)
    this.#numChildren = new Int32Array(numBlocks)
  }

  get numPublished(): number {
    return this.#numPublished
  }

  has(blockId: number): boolean {
    return this.#parents[blockId] !== noKey
  }

  /** The published block before this one, or a root. The block must be published. */
  parentOf(blockId: number): number {
    assert(this.has(blockId), 'no parent of a block that is not published', blockId)
    return this.#parents[blockId]!
  }

  /** The root that the block's chain starts from. The block must be published. */
  rootOf(blockId: number): number {
    assert(this.has(blockId), 'no root of a block that is not published', blockId)
    return this.#roots[blockId]!
  }

  /** The tenant that the block belongs to. It must be published. */
  tenantOf(blockId: number): number {
    assert(this.has(blockId), 'no tenant of a block that is not published', blockId)
    return this.#tenants[blockId]!
  }

  /**
   * A number that no other publication has; 0 if the block is not published. As long as it is the
   * same the block has not been unpublished, hence neither has any block before it in its chain.
   */
  publicationOf(blockId: number): number {
    return this.has(blockId) ? this.#publications[blockId]! : 0
  }

  /** Published blocks that continue this one; while there are any, it must stay. */
  numChildren(blockId: number): number {
    return this.#numChildren[blockId]!
  }

  /** The block published under this key, -1 if there is none. Reads blockSize tokens at `start`. */
  find(parentId: number, tenant: number, tokenIds: Int32Array, start: number): number {
    const hash = this.hash(parentId, tenant, tokenIds, start)
    let blockId = this.#buckets[hash & (this.#buckets.length - 1)]!
    while (blockId !== noBlock) {
      if (
        this.#hashes[blockId] === hash &&
        this.matches(blockId, parentId, tenant, tokenIds, start)
      ) {
        return blockId
      }
      blockId = this.#nextInBucket[blockId]!
    }
    return noBlock
  }

  /** Whether the block is published under exactly this key. */
  matches(
    blockId: number,
    parentId: number,
    tenant: number,
    tokenIds: Int32Array,
    start: number,
  ): boolean {
    if (this.#parents[blockId] !== parentId || this.#tenants[blockId] !== tenant) return false
    const offset = blockId * this.#blockSize
    for (let i = 0; i < this.#blockSize; i++) {
      if (this.#tokenIds[offset + i] !== tokenIds[start + i]) return false
    }
    return true
  }

  /** Publishes a block. Neither the block nor the key may be published already. */
  insert(
    blockId: number,
    parentId: number,
    tenant: number,
    tokenIds: Int32Array,
    start: number,
  ): void {
    assert(!this.has(blockId), 'a block was published twice', blockId)
    assert(
      parentId < 0 || this.has(parentId),
      'a block was published behind a parent that is not',
      parentId,
    )
    const hash = this.hash(parentId, tenant, tokenIds, start)
    const bucket = hash & (this.#buckets.length - 1)
    this.#hashes[blockId] = hash
    this.#nextInBucket[blockId] = this.#buckets[bucket]!
    this.#buckets[bucket] = blockId
    this.#parents[blockId] = parentId
    this.#tenants[blockId] = tenant
    for (let i = 0; i < this.#blockSize; i++) {
      this.#tokenIds[blockId * this.#blockSize + i] = tokenIds[start + i]!
    }
    this.#roots[blockId] = parentId < 0 ? parentId : this.#roots[parentId]!
    if (parentId >= 0) this.#numChildren[parentId]!++
    this.#publications[blockId] = ++this.#numPublications
    this.#numPublished++
  }

  /** Unpublishes a block that has no published children. */
  remove(blockId: number): void {
    assert(this.has(blockId), 'a block was unpublished that is not published', blockId)
    assert(
      this.#numChildren[blockId] === 0,
      'a block was unpublished before the blocks that continue it',
      blockId,
    )
    const bucket = this.#hashes[blockId]! & (this.#buckets.length - 1)
    const next = this.#nextInBucket[blockId]!
    if (this.#buckets[bucket] === blockId) {
      this.#buckets[bucket] = next
    } else {
      let previous = this.#buckets[bucket]!
      while (this.#nextInBucket[previous] !== blockId) previous = this.#nextInBucket[previous]!
      this.#nextInBucket[previous] = next
    }
    const parentId = this.#parents[blockId]!
    if (parentId >= 0) this.#numChildren[parentId]!--
    this.#parents[blockId] = noKey
    this.#numPublished--
  }

  /**
   * 32 bits of a key. Each token goes through a secret multiplication, not only the start value:
   * otherwise token lists could be built that collide under every seed.
   */
  hash(parentId: number, tenant: number, tokenIds: Int32Array, start: number): number {
    const multiplier = this.#multiplier
    let hash = Math.imul(this.#seed ^ parentId, multiplier)
    hash = Math.imul(hash ^ (hash >>> 15) ^ (tenant | 0), multiplier)
    hash = Math.imul(hash ^ (hash >>> 15) ^ highWord(tenant), multiplier)
    for (let i = start; i < start + this.#blockSize; i++) {
      hash = Math.imul(hash ^ (hash >>> 15) ^ tokenIds[i]!, multiplier)
    }
    return avalanche(hash)
  }

  /** Throws unless every block is found under its own key alone and every child is counted. O(n). */
  checkIntegrity(): void {
    const numBlocks = this.#parents.length
    const numChildren = new Int32Array(numBlocks)
    let numPublished = 0
    for (let blockId = 0; blockId < numBlocks; blockId++) {
      const parentId = this.#parents[blockId]!
      if (parentId === noKey) continue
      numPublished++
      if (parentId >= 0) {
        assert(this.has(parentId), 'a published block has an unpublished parent; block', blockId)
        numChildren[parentId]!++
      }
      const start = blockId * this.#blockSize
      const found = this.find(parentId, this.#tenants[blockId]!, this.#tokenIds, start)
      assert(found === blockId, 'a published block is not found under its key; block', blockId)
    }
    for (let blockId = 0; blockId < numBlocks; blockId++) {
      const isExact = numChildren[blockId] === this.#numChildren[blockId]
      assert(isExact, 'the children of a block are miscounted; block', blockId)
    }
    assert(numPublished === this.#numPublished, 'the published blocks are miscounted', numPublished)
  }
}

/** The upper bits of an integer below 2^53, as 32 bits. */
function highWord(value: number): number {
  return Math.floor(value / 2 ** 32) | 0
}

/** Spreads every bit of a 32-bit integer over all others; a bijection. */
function avalanche(value: number): number {
  let hash = value
  hash = Math.imul(hash ^ (hash >>> 16), 0x21f0aaad)
  hash = Math.imul(hash ^ (hash >>> 15), 0x735a2d97)
  return hash ^ (hash >>> 15)
}

function powerOfTwoFrom(minimum: number): number {
  let value = 1
  while (value < minimum) value *= 2
  return value
}
