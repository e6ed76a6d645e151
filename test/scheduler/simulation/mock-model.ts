import type { BlockPool } from '../../../scheduler/block-pool.js'
import type { StepPlan } from '../../../scheduler/step-plan.js'
import type { SoloRequest, SoloRun } from './tags.js'
import { TagArray } from './tags.js'

/** One sequence of a step, copied when the step starts, as a device would have it. */
interface Row {
  readonly id: number
  readonly start: number
  /** -1 - r stands for what row r of the step before samples. */
  readonly tokenIds: Int32Array
  readonly blockTable: Int32Array
  readonly samples: boolean
}

/** A request that the mock model knows by its sequence's id. */
export interface KnownRequest {
  readonly request: SoloRequest
  readonly solo: SoloRun
}

/** Throws because the scheduler under test did something wrong. */
export function fail(message: string): never {
  throw new Error(message)
}

/**
 * Stands for the device. A slot of its cache carries a tag instead of K and V, so a read through a
 * wrong block, of a block reused too soon, or of a neighbour's write shows at the step it happens.
 * A step's writes are applied when its result is delivered, and freed blocks are poisoned.
 */
export class MockModel {
  readonly #pool: BlockPool
  readonly #vocabSize: number
  readonly #cache: TagArray
  readonly #wasFree: Uint8Array
  /** Step number of the last write to a slot. */
  readonly #lastWrites: Int32Array
  readonly #find: (id: number) => KnownRequest
  /** The steps in flight, oldest first. */
  readonly #steps: { rows: Row[]; copies: Int32Array }[] = []
  #lastSampled = new Int32Array(0)
  #numSteps = 0

  constructor(pool: BlockPool, vocabSize: number, find: (id: number) => KnownRequest) {
    const numSlots = pool.numBlocks * pool.blockSize
    this.#pool = pool
    this.#vocabSize = vocabSize
    this.#find = find
    this.#cache = new TagArray(numSlots)
    this.#cache.poison(0, numSlots)
    this.#wasFree = new Uint8Array(pool.numBlocks).fill(1)
    this.#lastWrites = new Int32Array(numSlots)
  }

  /** Overwrites the blocks that have become free. */
  poisonFreeBlocks(): void {
    const { blockSize } = this.#pool
    for (let blockId = 0; blockId < this.#pool.numBlocks; blockId++) {
      const isFree = this.#pool.isFree(blockId)
      if (isFree && this.#wasFree[blockId] === 0) {
        this.#cache.poison(blockId * blockSize, (blockId + 1) * blockSize)
      }
      this.#wasFree[blockId] = isFree ? 1 : 0
    }
  }

  /** Copies what the step reads. Nothing is written yet. */
  start(plan: StepPlan): void {
    const rows = plan.rows.map(({ sequence, start, numTokens, samples, sourceRow }) => ({
      id: sequence.id,
      start,
      tokenIds:
        sourceRow >= 0
          ? Int32Array.of(-1 - sourceRow)
          : sequence.tokenIds.slice(start, start + numTokens),
      // Whole, so that a read past numBlocks finds what a device would find there.
      blockTable: sequence.blockTable.slice(),
      samples,
    }))
    const copies = plan.blockCopies.slice(0, 2 * plan.numBlockCopies)
    this.#steps.push({ rows, copies })
  }

  /** Applies the oldest step's writes, verifies all contexts, and samples. */
  deliver(): Int32Array {
    const { rows, copies } = this.#steps.shift() ?? fail('no step is in flight')
    this.#numSteps++
    for (const { tokenIds } of rows) {
      if (tokenIds[0]! < 0) tokenIds[0] = this.#lastSampled[-1 - tokenIds[0]!]!
    }
    for (let i = 0; i < copies.length; i += 2) this.#copy(copies[i]!, copies[i + 1]!)
    for (const row of rows) this.#write(row)
    for (const row of rows) this.#verify(row)
    const sampled = new Int32Array(rows.length)
    rows.forEach((row, i) => {
      sampled[i] = row.samples ? this.#sample(row) : 7
    })
    this.#lastSampled = sampled
    return sampled
  }

  #copy(source: number, destination: number): void {
    const { blockSize } = this.#pool
    const numHolders = this.#pool.refCount(destination)
    if (numHolders !== 1) fail(`block ${destination} is copied to, held ${numHolders}x`)
    if (this.#pool.isFree(source)) fail(`the free block ${source} is copied from`)
    this.#cache.copy(source * blockSize, destination * blockSize, blockSize)
  }

  #write(row: Row): void {
    const { tenant } = this.#find(row.id).request
    row.tokenIds.forEach((token, i) => {
      const position = row.start + i
      const slot = this.#slot(row, position)
      const blockId = Math.floor(slot / this.#pool.blockSize)
      const numHolders = this.#pool.refCount(blockId)
      if (numHolders !== 1) fail(`sequence ${row.id} writes block ${blockId}, held ${numHolders}x`)
      if (this.#pool.isPublished(blockId)) fail(`sequence ${row.id} writes a published block`)
      if (this.#lastWrites[slot] === this.#numSteps) fail(`slot ${slot} is written twice`)
      this.#lastWrites[slot] = this.#numSteps
      const previousSlot = position === 0 ? -1 : this.#slot(row, position - 1)
      this.#cache.chain(slot, this.#cache, previousSlot, token, position, tenant)
    })
  }

  #verify(row: Row): void {
    // What failed in the step before: nobody will look at this.
    if (row.tokenIds[0]! < 0) return
    const { tags } = this.#find(row.id).solo
    const end = row.start + row.tokenIds.length
    for (let position = 0; position < end; position++) {
      const slot = this.#slot(row, position)
      if (this.#cache.equals(slot, tags, position)) continue
      fail(`sequence ${row.id} reads a wrong tag at position ${position}, slot ${slot}`)
    }
  }

  #sample(row: Row): number {
    const { request } = this.#find(row.id)
    const end = row.start + row.tokenIds.length
    if (end - request.promptTokenIds.length === request.failsAt) return -1
    return this.#cache.sample(this.#slot(row, end - 1), request.seed, this.#vocabSize)
  }

  #slot(row: Row, position: number): number {
    const { blockSize } = this.#pool
    const blockId = row.blockTable[Math.floor(position / blockSize)]
    if (blockId === undefined) fail(`sequence ${row.id} has no block for position ${position}`)
    return blockId * blockSize + (position % blockSize)
  }
}
