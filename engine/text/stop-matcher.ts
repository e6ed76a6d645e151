/** What may be shown after a piece of text, and the stop string that ended it, if one did. */
export interface StopMatch {
  readonly text: string
  readonly matched?: string
}

/**
 * Looks for stop strings in text that arrives in pieces. Text that could still become a stop string
 * is held back, so that no part of a match is ever shown.
 *
 * The match is the one that is complete first; of several that are complete at the same character,
 * the longest. Both can be told without looking ahead, so that it does not matter how the text was
 * cut into pieces.
 */
export class StopMatcher {
  readonly #stopStrings: readonly string[]
  #held = ''
  #hasMatched = false

  /** Empty stop strings never match. */
  constructor(stopStrings: readonly string[]) {
    this.#stopStrings = stopStrings.filter((stopString) => stopString !== '')
  }

  /** Text before the match is given out; after a match nothing is. */
  push(text: string): StopMatch {
    if (this.#hasMatched) return { text: '' }
    if (this.#stopStrings.length === 0) return { text }

    const seen = this.#held + text
    const match = this.#findFirst(seen)
    if (match !== undefined) {
      this.#hasMatched = true
      this.#held = ''
      return { text: seen.slice(0, match.start), matched: match.stopString }
    }
    const heldLen = this.#longestPartialMatch(seen)
    this.#held = seen.slice(seen.length - heldLen)
    return { text: seen.slice(0, seen.length - heldLen) }
  }

  /** The held text, once it is known that nothing follows. */
  flush(): StopMatch {
    const text = this.#held
    this.#held = ''
    return { text }
  }

  #findFirst(seen: string): { start: number; stopString: string } | undefined {
    let first: { start: number; stopString: string } | undefined
    let firstEnd = Number.POSITIVE_INFINITY
    for (const stopString of this.#stopStrings) {
      const start = seen.indexOf(stopString)
      if (start < 0) continue
      const end = start + stopString.length
      if (end > firstEnd || (end === firstEnd && start >= first!.start)) continue
      firstEnd = end
      first = { start, stopString }
    }
    return first
  }

  /** Length of the longest tail that some stop string begins with. */
  #longestPartialMatch(seen: string): number {
    let longest = 0
    for (const stopString of this.#stopStrings) {
      const from = Math.max(0, seen.length - stopString.length + 1)
      const firstChar = stopString[0]!
      for (let i = seen.indexOf(firstChar, from); i >= 0; i = seen.indexOf(firstChar, i + 1)) {
        if (seen.length - i <= longest) break
        if (!stopString.startsWith(seen.slice(i))) continue
        longest = seen.length - i
        break
      }
    }
    return longest
  }
}
