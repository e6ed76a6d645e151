import { assert } from './assert.js'
import type { Sequence } from './sequence.js'

/**
 * Sequences in order, linked through their own fields: O(1) at both ends and in the middle. A
 * sequence is in one queue at a time.
 */
export class SequenceQueue {
  first: Sequence | undefined = undefined
  last: Sequence | undefined = undefined
  length = 0

  pushBack(sequence: Sequence): void {
    sequence.previous = this.last
    if (this.last === undefined) this.first = sequence
    else this.last.next = sequence
    this.last = sequence
    this.length++
  }

  pushFront(sequence: Sequence): void {
    sequence.next = this.first
    if (this.first === undefined) this.last = sequence
    else this.first.previous = sequence
    this.first = sequence
    this.length++
  }

  remove(sequence: Sequence): void {
    const { previous, next } = sequence
    assert(
      previous === undefined ? this.first === sequence : previous.next === sequence,
      'a sequence was removed from a queue it is not in; sequence',
      sequence.id,
    )
    if (previous === undefined) this.first = next
    else previous.next = next
    if (next === undefined) this.last = previous
    else next.previous = previous
    sequence.previous = undefined
    sequence.next = undefined
    this.length--
  }
}
