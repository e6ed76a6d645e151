import type { StepPlan } from '../../../scheduler/step-plan.js'
import { fail, type Life } from './life.js'
import { TagArray } from './tags.js'
import type { BlockContents, WatchedPool } from './watched-pool.js'

/** One sequence of a step, copied when the step starts, as a device would have it. */
interface Row {
  life: Life
  start: number
  numTokens: number
  samples: boolean
  /** Where its tokens and its block table begin in the step's arrays. */
  tokenOffset: number
  tableOffset: number
  tableLen: number
}

/** What a step reads; the arrays grow and are used again. */
class Submitted {
  readonly rows: Row[] = []
  numRows = 0
  /** -1 - r stands for what row r of the step before samples. */
  tokenIds = new Int32Array(64)
  numTokens = 0
  tables = new Int32Array(256)
  tablesLen = 0
  copies = new Int32Array(0)

  clear(): void {
    this.numRows = 0
    this.numTokens = 0
    this.tablesLen = 0
  }

  addRow(life: Life, start: number, numTokens: number, samples: boolean): Row {
    const tokenOffset = this.numTokens
    const tableOffset = this.tablesLen
    const { blockTable } = life.sequence
    this.numTokens += numTokens
    this.tablesLen += blockTable.length
    this.tokenIds = grow(this.tokenIds, this.numTokens)
    this.tables = grow(this.tables, this.tablesLen)
    // Whole, so that a read past numBlocks finds what a device would find there.
    this.tables.set(blockTable, tableOffset)
    const tableLen = blockTable.length
    const row = { life, start, numTokens, samples, tokenOffset, tableOffset, tableLen }
    this.rows[this.numRows++] = row
    return row
  }
}

function grow(array: Int32Array<ArrayBuffer>, length: number): Int32Array<ArrayBuffer> {
  if (length <= array.length) return array
  const grown = new Int32Array(2 * length)
  grown.set(array)
  return grown
}

/**
 * Stands for the device. A slot of its cache carries a tag instead of K and V, so a read through a
 * wrong block, of a block reused too soon, or of a neighbour's write shows at the step it happens.
 * A step's writes are applied when its result is delivered, and freed blocks are poisoned.
 */
export class MockModel implements BlockContents {
  readonly tags: TagArray
  readonly #pool: WatchedPool
  readonly #blockSize: number
  readonly #vocabSize: number
  /** What lies in a block now, by a number that no other content of any block has. */
  readonly #contents: Float64Array
  #numContents = 0
  /** Step number of the last write to a slot. */
  readonly #lastWrites: Int32Array
  readonly #find: (id: number) => Life
  /** Used in turns, as batches of the native side are. */
  readonly #steps = [new Submitted(), new Submitted()]
  #lastSampled = new Int32Array(0)
  #numStarted = 0
  #numDelivered = 0

  constructor(pool: WatchedPool, vocabSize: number, find: (id: number) => Life) {
    const numSlots = pool.numBlocks * pool.blockSize
    this.#pool = pool
    this.#blockSize = pool.blockSize
    this.#vocabSize = vocabSize
    this.#find = find
    this.tags = new TagArray(numSlots)
    this.tags.poison(0, numSlots)
    this.#contents = new Float64Array(pool.numBlocks)
    this.#lastWrites = new Int32Array(numSlots)
    pool.contents = this
  }

  poison(blockId: number): void {
    this.tags.poison(blockId * this.#blockSize, (blockId + 1) * this.#blockSize)
    this.#contents[blockId] = ++this.#numContents
  }

  /** Copies what the step reads. Nothing is written yet. */
  start(plan: StepPlan): void {
    if (this.#numStarted - this.#numDelivered === 2) fail('three steps are in flight')
    const step = this.#steps[this.#numStarted++ % 2]!
    step.clear()
    for (const { sequence, start, numTokens, samples, sourceRow } of plan.rows) {
      const { tokenOffset } = step.addRow(this.#find(sequence.id), start, numTokens, samples)
      for (let i = 0; i < numTokens; i++) {
        const token = sourceRow >= 0 ? -1 - sourceRow : sequence.tokenIds[start + i]!
        step.tokenIds[tokenOffset + i] = token
      }
    }
    step.copies = plan.blockCopies.slice(0, 2 * plan.numBlockCopies)
  }

  /** Applies the oldest step's writes, verifies all contexts, and samples. Good until the next. */
  deliver(): Int32Array {
    if (this.#numStarted === this.#numDelivered) fail('no step is in flight')
    const step = this.#steps[this.#numDelivered++ % 2]!
    const { tokenIds, copies, numRows } = step
    for (let i = 0; i < step.numTokens; i++) {
      if (tokenIds[i]! < 0) tokenIds[i] = this.#lastSampled[-1 - tokenIds[i]!]!
    }
    for (let i = 0; i < copies.length; i += 2) this.#copy(copies[i]!, copies[i + 1]!)
    for (let i = 0; i < numRows; i++) this.#write(step, step.rows[i]!)
    for (let i = 0; i < numRows; i++) this.#verify(step, step.rows[i]!)
    const sampled = new Int32Array(numRows)
    for (let i = 0; i < numRows; i++) {
      const row = step.rows[i]!
      sampled[i] = row.samples ? this.#sample(step, row) : 7
    }
    this.#lastSampled = sampled
    return sampled
  }

  #copy(source: number, destination: number): void {
    const size = this.#blockSize
    const numHolders = this.#pool.refCount(destination)
    if (numHolders !== 1) fail(`block ${destination} is copied to, held ${numHolders}x`)
    if (this.#pool.isFree(source)) fail(`the free block ${source} is copied from`)
    this.tags.copy(source * size, destination * size, size)
    this.#contents[destination] = ++this.#numContents
  }

  #write(step: Submitted, row: Row): void {
    const { life, start, numTokens, tokenOffset } = row
    const { tenant } = life.request
    let blockId = -1
    for (let i = 0; i < numTokens; i++) {
      const position = start + i
      const slot = this.#slot(step, row, position)
      if (i === 0 || position % this.#blockSize === 0) {
        blockId = Math.floor(slot / this.#blockSize)
        this.#checkWrite(life, blockId)
      }
      if (this.#lastWrites[slot] === this.#numDelivered) fail(`slot ${slot} is written twice`)
      this.#lastWrites[slot] = this.#numDelivered
      const previousSlot = position === 0 ? -1 : this.#slot(step, row, position - 1)
      const token = step.tokenIds[tokenOffset + i]!
      this.tags.chain(slot, this.tags, previousSlot, token, position, tenant)
    }
  }

  #checkWrite({ sequence }: Life, blockId: number): void {
    const numHolders = this.#pool.refCount(blockId)
    if (numHolders !== 1) {
      fail(`sequence ${sequence.id} writes block ${blockId}, held ${numHolders}x`)
    }
    if (this.#pool.isPublished(blockId)) fail(`sequence ${sequence.id} writes a published block`)
    this.#contents[blockId] = ++this.#numContents
  }

  /** Every position that the row reads. Blocks whose content was verified before are passed over. */
  #verify(step: Submitted, row: Row): void {
    const { life, start, numTokens, tokenOffset } = row
    // What failed in the step before: nobody will look at this.
    if (step.tokenIds[tokenOffset]! < 0) return
    const size = this.#blockSize
    const end = start + numTokens
    const { tags } = life.solo
    for (let i = 0; i * size < end; i++) {
      const blockId = step.tables[row.tableOffset + i]!
      const content = this.#contents[blockId]!
      if (life.verified[i] === content) continue
      const blockEnd = Math.min(end, (i + 1) * size)
      for (let position = i * size; position < blockEnd; position++) {
        if (this.tags.equals(blockId * size + (position % size), tags, position)) continue
        fail(`sequence ${life.sequence.id} reads a wrong tag at ${position}, block ${blockId}`)
      }
      if (blockEnd === (i + 1) * size) life.verified[i] = content
    }
  }

  #sample(step: Submitted, row: Row): number {
    const { request } = row.life
    const end = row.start + row.numTokens
    if (end - request.promptTokenIds.length === request.failsAt) {
      this.#spoil(row.life)
      return -1
    }
    return this.tags.sample(this.#slot(step, row, end - 1), request.seed, this.#vocabSize)
  }

  /** What a failed sequence alone has computed is wrong, as far as the scheduler can know. */
  #spoil({ sequence, group }: Life): void {
    // A sibling may be about to copy its last block.
    if (group.numChoices > 1) return
    let numSpoiled = 0
    for (let i = sequence.numBlocks - 1; i >= 0; i--) {
      const blockId = sequence.blockTable[i]!
      // Blocks that others share, or may find behind this one, were right for them.
      const numContinued = this.#pool.numChildren(blockId)
      if (this.#pool.refCount(blockId) > 1 || numContinued > numSpoiled) return
      numSpoiled = this.#pool.isPublished(blockId) ? 1 : 0
      this.poison(blockId)
    }
  }

  #slot(step: Submitted, row: Row, position: number): number {
    const size = this.#blockSize
    const index = Math.floor(position / size)
    if (index >= row.tableLen) fail(`a sequence has no block for position ${position}`)
    const blockId = step.tables[row.tableOffset + index]!
    return blockId * size + (position % size)
  }
}
