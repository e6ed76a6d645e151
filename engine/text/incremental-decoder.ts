import type { TokenTable } from './token-table.js'

/**
 * Turns token ids into text as they come. A character whose bytes are spread over several tokens is
 * held back until it is whole; bytes that can no longer become a character give U+FFFD, the same
 * ones that a TextDecoder gives for all the bytes at once. One decoder a sequence.
 */
export class IncrementalDecoder {
  readonly #table: TokenTable
  // A byte order mark is text like any other here: the model said it.
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true })

  constructor(table: TokenTable) {
    this.#table = table
  }

  /** The text that this token completes; empty for special tokens and for the start of a character. */
  push(tokenId: number): string {
    const bytes = this.#table.bytes(tokenId)
    return bytes.length === 0 ? '' : this.#decoder.decode(bytes, { stream: true })
  }

  /** What is left at the end: U+FFFD for a character that was never finished. */
  flush(): string {
    return this.#decoder.decode()
  }
}
