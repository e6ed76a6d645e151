import type { Sequence } from './sequence.js'

/** So many others may be admitted before a prompt that is half computed. */
const maxOvertakes = 16

/**
 * The running sequences whose prompt is half computed, in the order in which they get tokens: the
 * best priority, then the tenant that had the fewest tokens, then the oldest. There is mostly one.
 */
export class BegunPrompts {
  readonly #sequences: Sequence[] = []

  get length(): number {
    return this.#sequences.length
  }

  at(index: number): Sequence {
    return this.#sequences[index]!
  }

  clear(): void {
    this.#sequences.length = 0
  }

  /** To be called in order of admission, and followed by `sort`. */
  push(sequence: Sequence): void {
    this.#sequences.push(sequence)
  }

  sort(): void {
    this.#sequences.sort(compare)
  }

  /** Whether a waiting sequence may be admitted before the prompts from `first` on. */
  mayOvertake(sequence: Sequence, first: number): boolean {
    for (let i = first; i < this.#sequences.length; i++) {
      const begun = this.#sequences[i]!
      if (begun.numOvertakes >= maxOvertakes || compare(sequence, begun) >= 0) return false
    }
    return true
  }

  /** It was admitted. */
  countOvertake(first: number): void {
    for (let i = first; i < this.#sequences.length; i++) this.#sequences[i]!.numOvertakes++
  }
}

/** Negative if a goes before b. */
function compare(a: Sequence, b: Sequence): number {
  return a.priority - b.priority || b.account.deficit - a.account.deficit
}
