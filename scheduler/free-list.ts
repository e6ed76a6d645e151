import { IdLists } from './id-lists.js'

/** One list of ids that nobody holds: the integers 0 to capacity - 1, each at most once. O(1). */
export class FreeList {
  readonly #ids: IdLists

  /** An empty list for the ids 0 to capacity - 1. */
  constructor(capacity: number) {
    this.#ids = new IdLists(capacity, 1)
  }

  get length(): number {
    return this.#ids.length(0)
  }

  /** The id at the front, -1 if the list is empty. */
  get first(): number {
    return this.#ids.first(0)
  }

  /** The id behind `id`, which must be in the list; -1 at the back. */
  next(id: number): number {
    return this.#ids.next(id)
  }

  has(id: number): boolean {
    return this.#ids.has(id)
  }

  pushFront(id: number): void {
    this.#ids.pushFront(0, id)
  }

  pushBack(id: number): void {
    this.#ids.pushBack(0, id)
  }

  /** Takes the id at the front out of the list; -1 if the list is empty. */
  takeFront(): number {
    const id = this.first
    if (id !== -1) this.remove(id)
    return id
  }

  remove(id: number): void {
    this.#ids.remove(id)
  }
}
