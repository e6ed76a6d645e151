import { tokenOfBytes } from './byte-alphabet.js'
import { MAX_TOKEN_BYTES, type MergeRules } from './tokenizer-file.js'

const MAX_CACHED_WORDS = 8192
const MAX_CACHED_WORD_LEN = 48
/** Positions share a float64 with ranks in the heap: 2^24 positions x 2^21 ranks stay exact. */
const MAX_WORD_BYTES = 1 << 24
const MAX_KEPT_SCRATCH = 1 << 16

/**
 * Byte-pair merging on ids, in O(n log n) for a word of n bytes.
 *
 * The library's own merge loop makes objects and JSON strings: for one word of 10^6 equal
 * characters it took 31 s and 775 MB on one core of two. Here a word is a linked list in typed arrays, its
 * possible merges a binary heap of numbers, and a merge is found by one probe of a flat hash table.
 */
export class PairMerger {
  /** The token of each byte, -1 where the vocabulary has none. */
  readonly #byteIds: Int32Array
  readonly #wholeWords: ReadonlyMap<string, number> | undefined
  readonly #merges: MergeTable
  readonly #cache = new Map<string, Int32Array>()
  #scratch = new Scratch(1024)

  /** Tokens in `forbiddenIds` are never produced, whatever the merges say. */
  constructor(
    vocab: ReadonlyMap<string, number>,
    rules: MergeRules,
    forbiddenIds: ReadonlySet<number>,
  ) {
    this.#byteIds = Int32Array.from(
      { length: 256 },
      (_, byte) => vocab.get(tokenOfBytes([byte])) ?? -1,
    )
    this.#merges = new MergeTable(rules.triples, forbiddenIds)
    if (rules.ignoresMergesForWholeWords) {
      this.#wholeWords = new Map([...vocab].filter(([, id]) => !forbiddenIds.has(id)))
    }
  }

  /** Appends the ids of a word to `out`. */
  encode(word: string, out: number[]): void {
    const cached = this.#cache.get(word)
    if (cached !== undefined) {
      for (const id of cached) out.push(id)
      return
    }
    const start = out.length
    const bytes = Buffer.from(word, 'utf8')
    // Only short words are tokens as a whole, and a long one would be copied for nothing.
    const isShort = bytes.length <= MAX_TOKEN_BYTES
    const whole = isShort ? this.#wholeWords?.get(tokenOfBytes(bytes)) : undefined
    if (whole !== undefined) out.push(whole)
    else this.#merge(bytes, out)
    if (word.length > MAX_CACHED_WORD_LEN) return
    // Emptied as a whole: words repeat so much that it fills up again at once.
    if (this.#cache.size >= MAX_CACHED_WORDS) this.#cache.clear()
    this.#cache.set(word, Int32Array.from(out.slice(start)))
  }

  #merge(bytes: Uint8Array, out: number[]): void {
    if (bytes.length > MAX_WORD_BYTES) {
      throw new RangeError(
        `A word of ${bytes.length} bytes is above the limit of ${MAX_WORD_BYTES}.`,
      )
    }
    if (this.#scratch.capacity < bytes.length) this.#scratch = new Scratch(bytes.length)
    const { ids, next, prev } = this.#scratch
    // A byte that the vocabulary does not know vanishes, and its neighbours meet.
    let numSymbols = 0
    for (let i = 0; i < bytes.length; i++) {
      const id = this.#byteIds[bytes[i]!]!
      if (id < 0) continue
      ids[numSymbols] = id
      prev[numSymbols] = numSymbols - 1
      next[numSymbols] = numSymbols + 1
      numSymbols++
    }
    if (numSymbols > 0) {
      next[numSymbols - 1] = -1
      this.#mergeSymbols(numSymbols)
      // The first symbol is never merged away: a pair lives on at its left place.
      for (let i = 0; i >= 0; i = next[i]!) out.push(ids[i]!)
    }
    if (this.#scratch.capacity > MAX_KEPT_SCRATCH) this.#scratch = new Scratch(1024)
  }

  #mergeSymbols(numSymbols: number): void {
    const { ids, next, prev, heap } = this.#scratch
    heap.clear()
    for (let i = 0; i + 1 < numSymbols; i++) this.#offer(i)
    for (let key = heap.pop(); key >= 0; key = heap.pop()) {
      const rank = Math.floor(key / MAX_WORD_BYTES)
      const left = key % MAX_WORD_BYTES
      const right = next[left]!
      // Stale when either half was merged with something else since it was offered.
      if (ids[left]! < 0 || right < 0) continue
      if (this.#merges.findRank(ids[left]!, ids[right]!) !== rank) continue
      ids[left] = this.#merges.result(rank)
      ids[right] = -1
      const after = next[right]!
      next[left] = after
      if (after >= 0) {
        prev[after] = left
        this.#offer(left)
      }
      if (prev[left]! >= 0) this.#offer(prev[left]!)
    }
  }

  #offer(left: number): void {
    const { ids, next, heap } = this.#scratch
    const rank = this.#merges.findRank(ids[left]!, ids[next[left]!]!)
    if (rank >= 0) heap.push(rank * MAX_WORD_BYTES + left)
  }
}

class Scratch {
  readonly capacity: number
  readonly ids: Int32Array
  readonly next: Int32Array
  readonly prev: Int32Array
  readonly heap: NumberHeap

  constructor(capacity: number) {
    this.capacity = capacity
    this.ids = new Int32Array(capacity)
    this.next = new Int32Array(capacity)
    this.prev = new Int32Array(capacity)
    // n - 1 pairs at first; each of at most n - 1 merges takes one pair out and offers two.
    this.heap = new NumberHeap(2 * capacity)
  }
}

/** Smallest number first. */
class NumberHeap {
  readonly #items: Float64Array
  #size = 0

  constructor(capacity: number) {
    this.#items = new Float64Array(capacity)
  }

  clear(): void {
    this.#size = 0
  }

  push(item: number): void {
    const items = this.#items
    let i = this.#size++
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (items[parent]! <= item) break
      items[i] = items[parent]!
      i = parent
    }
    items[i] = item
  }

  /** -1 when there is none. */
  pop(): number {
    if (this.#size === 0) return -1
    const items = this.#items
    const smallest = items[0]!
    const item = items[--this.#size]!
    let i = 0
    for (let child = 1; child < this.#size; child = 2 * i + 1) {
      if (child + 1 < this.#size && items[child + 1]! < items[child]!) child++
      if (items[child]! >= item) break
      items[i] = items[child]!
      i = child
    }
    items[i] = item
    return smallest
  }
}

/** (left id, right id) -> rank, with open addressing at most half full. */
class MergeTable {
  readonly #triples: Int32Array
  readonly #slots: Int32Array
  readonly #mask: number

  constructor(triples: Int32Array, forbiddenIds: ReadonlySet<number>) {
    this.#triples = triples
    const numMerges = triples.length / 3
    const numSlots = 2 ** Math.ceil(Math.log2(Math.max(8, 2 * numMerges)))
    this.#mask = numSlots - 1
    this.#slots = new Int32Array(numSlots).fill(-1)
    for (let rank = 0; rank < numMerges; rank++) {
      if (forbiddenIds.has(this.result(rank))) continue
      const left = triples[3 * rank]!
      const right = triples[3 * rank + 1]!
      // Of a pair that is listed twice the last one counts, as in the original.
      this.#slots[this.#findSlot(left, right)] = rank
    }
  }

  result(rank: number): number {
    return this.#triples[3 * rank + 2]!
  }

  /** -1 when the two do not merge. */
  findRank(left: number, right: number): number {
    return this.#slots[this.#findSlot(left, right)]!
  }

  #findSlot(left: number, right: number): number {
    let slot = (Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b)) >>> 0
    slot = (slot ^ (slot >>> 15)) & this.#mask
    for (let rank = this.#slots[slot]!; rank >= 0; rank = this.#slots[slot]!) {
      if (this.#triples[3 * rank] === left && this.#triples[3 * rank + 1] === right) break
      slot = (slot + 1) & this.#mask
    }
    return slot
  }
}
