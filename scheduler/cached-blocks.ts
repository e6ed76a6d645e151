import { assert } from './assert.js'
import { FreeList } from './free-list.js'
import { IdLists } from './id-lists.js'

/**
 * The cached blocks, in the order in which they will be evicted: the one released longest ago goes
 * first. A tenant that has more of them than its share goes before all others, so that a flood of
 * one tenant's prompts costs that tenant's prefixes and nobody else's:
 *
 *   evict:  the oldest block of a tenant above its share, else the oldest block of all
 *
 * Either way it is the deepest of its chain: a chain belongs to one tenant, and its blocks stand in
 * both orders from the deepest to the first. Every operation is O(1).
 */
export class CachedBlocks {
  /** Blocks a tenant may have here before its own go first. */
  readonly share: number
  readonly #oldest: FreeList
  /** The same blocks by tenant; a list's number is the tenant's place. */
  readonly #byPlace: IdLists
  /** Tenants that have blocks here get a place, and lose it with their last block. */
  readonly #placeOfTenant = new Map<number, number>()
  readonly #tenantOfPlace: Float64Array // [numBlocks]
  readonly #placeOfBlock: Int32Array // [numBlocks]
  readonly #freePlaces: FreeList
  readonly #placesAboveShare: FreeList

  constructor(numBlocks: number, share: number) {
    this.share = share
    this.#oldest = new FreeList(numBlocks)
    this.#byPlace = new IdLists(numBlocks, numBlocks)
    this.#tenantOfPlace = new Float64Array(numBlocks)
    this.#placeOfBlock = new Int32Array(numBlocks)
    this.#freePlaces = new FreeList(numBlocks)
    this.#placesAboveShare = new FreeList(numBlocks)
    for (let place = 0; place < numBlocks; place++) this.#freePlaces.pushBack(place)
  }

  get length(): number {
    return this.#oldest.length
  }

  /** How many of them are this tenant's. */
  countOf(tenant: number): number {
    const place = this.#placeOfTenant.get(tenant)
    return place === undefined ? 0 : this.#byPlace.length(place)
  }

  has(blockId: number): boolean {
    return this.#oldest.has(blockId)
  }

  /** The oldest block, -1 if there is none; with `next`, all of them from old to young. */
  get first(): number {
    return this.#oldest.first
  }

  next(blockId: number): number {
    return this.#oldest.next(blockId)
  }

  /** The block that must go when room is needed; -1 if there is none. */
  get firstToEvict(): number {
    const place = this.#placesAboveShare.first
    return place === -1 ? this.#oldest.first : this.#byPlace.first(place)
  }

  /** Adds a block as the youngest. */
  push(blockId: number, tenant: number): void {
    let place = this.#placeOfTenant.get(tenant)
    if (place === undefined) {
      // There are as many places as blocks, and each that is taken has a block.
      place = this.#freePlaces.takeFront()
      this.#placeOfTenant.set(tenant, place)
      this.#tenantOfPlace[place] = tenant
    }
    this.#oldest.pushBack(blockId)
    this.#byPlace.pushBack(place, blockId)
    this.#placeOfBlock[blockId] = place
    if (this.#byPlace.length(place) === this.share + 1) this.#placesAboveShare.pushBack(place)
  }

  remove(blockId: number): void {
    this.#oldest.remove(blockId)
    this.#byPlace.remove(blockId)
    const place = this.#placeOfBlock[blockId]!
    const length = this.#byPlace.length(place)
    if (length === this.share) this.#placesAboveShare.remove(place)
    if (length > 0) return
    this.#placeOfTenant.delete(this.#tenantOfPlace[place]!)
    this.#freePlaces.pushBack(place)
  }

  /** Throws unless both orders hold the same blocks and the shares are counted. O(n). */
  checkIntegrity(): void {
    let numBlocks = 0
    let numAbove = 0
    for (const [tenant, place] of this.#placeOfTenant) {
      const length = this.#byPlace.length(place)
      assert(length > 0, 'a tenant has a place and no cached block', tenant)
      const isAbove = this.#placesAboveShare.has(place)
      assert(isAbove === length > this.share, 'a share of the cache is miscounted', tenant)
      if (isAbove) numAbove++
      for (let id = this.#byPlace.first(place); id !== -1; id = this.#byPlace.next(id)) {
        assert(this.#oldest.has(id), 'a block is cached for a tenant alone', id)
        numBlocks++
      }
    }
    assert(numBlocks === this.length, 'the cached blocks are miscounted', numBlocks)
    assert(numAbove === this.#placesAboveShare.length, 'too many are above their share', numAbove)
  }
}
