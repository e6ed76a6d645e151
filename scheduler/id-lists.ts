import { assert } from './assert.js'

const absent = -1

/**
 * Several doubly linked lists of the same ids, 0 to capacity - 1, each id in one list at most.
 * Every operation is O(1) and allocates nothing, also taking an id out of the middle.
 *
 * The links lie in two Int32Arrays. Behind the ids each list has an entry of its own: its `next` is
 * the front, its `prev` the back, so that no operation has a special case for the ends.
 *
 *                     front                 back
 *   capacity + list -->  5   -->   2   -->    7   --> capacity + list
 */
export class IdLists {
  readonly #next: Int32Array // [capacity + numLists]
  readonly #prev: Int32Array // [capacity + numLists]
  readonly #lists: Int32Array // [capacity], the list that has the id, or absent
  readonly #lengths: Int32Array // [numLists]
  readonly #capacity: number

  /** Empty lists 0 to numLists - 1 for the ids 0 to capacity - 1. */
  constructor(capacity: number, numLists: number) {
    this.#capacity = capacity
    this.#next = new Int32Array(capacity + numLists)
    this.#prev = new Int32Array(capacity + numLists)
    this.#lists = new Int32Array(capacity).fill(absent)
    this.#lengths = new Int32Array(numLists)
    for (let own = capacity; own < capacity + numLists; own++) {
      this.#next[own] = own
      this.#prev[own] = own
    }
  }

  length(list: number): number {
    return this.#lengths[list]!
  }

  /** The id at the front, -1 if the list is empty. */
  first(list: number): number {
    return this.#idOrEnd(this.#next[this.#capacity + list]!)
  }

  /** The id behind `id`, which must be in a list; -1 at the back. */
  next(id: number): number {
    assert(this.has(id), 'no successor of an id that is not in the list', id)
    return this.#idOrEnd(this.#next[id]!)
  }

  /** Whether any list has the id. */
  has(id: number): boolean {
    return id >= 0 && id < this.#capacity && this.#lists[id] !== absent
  }

  pushFront(list: number, id: number): void {
    const own = this.#capacity + list
    this.#insert(list, id, own, this.#next[own]!)
  }

  pushBack(list: number, id: number): void {
    const own = this.#capacity + list
    this.#insert(list, id, this.#prev[own]!, own)
  }

  /** Takes the id out of the list that has it. */
  remove(id: number): void {
    assert(this.has(id), 'an id was removed that is not in the list', id)
    const prev = this.#prev[id]!
    const next = this.#next[id]!
    this.#next[prev] = next
    this.#prev[next] = prev
    this.#lengths[this.#lists[id]!]!--
    this.#lists[id] = absent
  }

  #insert(list: number, id: number, prev: number, next: number): void {
    const isKnown = id >= 0 && id < this.#capacity
    assert(isKnown, 'an id was added that the list has no room for', id)
    // A block that is given back twice is stopped here, in production too.
    assert(this.#lists[id] === absent, 'an id was added that is in the list already', id)
    this.#next[prev] = id
    this.#prev[id] = prev
    this.#next[id] = next
    this.#prev[next] = id
    this.#lists[id] = list
    this.#lengths[list]!++
  }

  #idOrEnd(index: number): number {
    return index < this.#capacity ? index : -1
  }
}
