import { assert } from './assert.js'

const absent = -2

/**
 * A doubly linked list of ids that nobody holds: the integers 0 to capacity - 1, each at most once.
 * Every operation is O(1) and allocates nothing, also taking an id out of the middle.
 *
 * The links lie in two Int32Arrays. The entry behind the last id is the list's own: its `next` is
 * the front, its `prev` the back, so that no operation has a special case for the ends.
 *
 *            front                 back
 *   own -->    5   -->   2   -->    7   --> own
 */
export class FreeList {
  readonly #next: Int32Array
  readonly #prev: Int32Array
  /** Index of the list's own entry; also the number of ids there can be. */
  readonly #own: number
  #length = 0

  /** An empty list for the ids 0 to capacity - 1. */
  constructor(capacity: number) {
    this.#own = capacity
    this.#next = new Int32Array(capacity + 1).fill(absent)
    this.#prev = new Int32Array(capacity + 1).fill(absent)
    this.#next[capacity] = capacity
    this.#prev[capacity] = capacity
  }

  get length(): number {
    return this.#length
  }

  /** The id at the front, -1 if the list is empty. */
  get first(): number {
    return this.#idOrEnd(this.#next[this.#own]!)
  }

  /** The id behind `id`, which must be in the list; -1 at the back. */
  next(id: number): number {
    assert(this.has(id), 'no successor of an id that is not in the list', id)
    return this.#idOrEnd(this.#next[id]!)
  }

  has(id: number): boolean {
    return id >= 0 && id < this.#own && this.#next[id] !== absent
  }

  pushFront(id: number): void {
    this.#insert(id, this.#own, this.#next[this.#own]!)
  }

  pushBack(id: number): void {
    this.#insert(id, this.#prev[this.#own]!, this.#own)
  }

  /** Takes the id at the front out of the list; -1 if the list is empty. */
  takeFront(): number {
    const id = this.first
    if (id !== -1) this.remove(id)
    return id
  }

  remove(id: number): void {
    assert(this.has(id), 'an id was removed that is not in the list', id)
    const prev = this.#prev[id]!
    const next = this.#next[id]!
    this.#next[prev] = next
    this.#prev[next] = prev
    this.#next[id] = absent
    this.#prev[id] = absent
    this.#length--
  }

  #insert(id: number, prev: number, next: number): void {
    assert(id >= 0 && id < this.#own, 'an id was added that the list has no room for', id)
    // A block that is given back twice is stopped here, in production too.
    assert(this.#next[id] === absent, 'an id was added that is in the list already', id)
    this.#next[prev] = id
    this.#prev[id] = prev
    this.#next[id] = next
    this.#prev[next] = id
    this.#length++
  }

  #idOrEnd(index: number): number {
    return index === this.#own ? -1 : index
  }
}
