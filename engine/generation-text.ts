import { IncrementalDecoder } from './text/incremental-decoder.js'
import { type StopMatch, StopMatcher } from './text/stop-matcher.js'
import type { TokenTable } from './text/token-table.js'

/** The text side of one sequence: token ids in, showable text and matched stop strings out. */
export class GenerationText {
  readonly #decoder: IncrementalDecoder
  readonly #matcher: StopMatcher
  readonly #minTokens: number
  #numTokens = 0

  /** Stop strings that appear before there are `minTokens` tokens are ordinary text. */
  constructor(table: TokenTable, stopStrings: readonly string[], minTokens: number) {
    this.#decoder = new IncrementalDecoder(table)
    this.#matcher = new StopMatcher(stopStrings)
    this.#minTokens = minTokens
  }

  /** What this token adds to the visible text. After a match nothing follows. */
  push(tokenId: number): StopMatch {
    this.#numTokens++
    const text = this.#decoder.push(tokenId)
    return this.#numTokens < this.#minTokens ? { text } : this.#matcher.push(text)
  }

  /** What was held back, when no token follows. */
  finish(): StopMatch {
    const last = this.#matcher.push(this.#decoder.flush())
    if (last.matched !== undefined) return last
    return { text: last.text + this.#matcher.flush().text }
  }
}
