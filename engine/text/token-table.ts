import type { TextAssets } from '../model/model-description.js'
import { bytesOfToken } from './byte-alphabet.js'
import { readTokenizer } from './tokenizer-file.js'

/** The bytes of every token. Ids beyond the tokenizer (a padded vocabulary) have none. */
export interface TokenTable {
  /** One more than the highest id. */
  readonly numTokens: number
  /** Bytes of the longest token, special ones left out. */
  readonly longestTokenBytes: number
  /** What the token adds to the text; a view that must not be changed. Empty for special tokens. */
  bytes(tokenId: number): Uint8Array
  isSpecial(tokenId: number): boolean
}

/**
 * Reads the vocabulary into one table of bytes. The library's own decode() is not used: it works on
 * whole texts and tidies up spaces, so pieces would not join to what the model said.
 * Throws a plain Error that names what is wrong with the tokenizer.
 */
export function buildTokenTable(assets: TextAssets): TokenTable {
  const { vocab, addedTokens, numTokens } = readTokenizer(assets.tokenizer)
  const texts: Uint8Array[] = new Array(numTokens).fill(EMPTY)
  const encoder = new TextEncoder()
  for (const [token, id] of vocab) texts[id] = bytesOfToken(token) ?? encoder.encode(token)

  const special = new Uint8Array(numTokens)
  for (const token of addedTokens) {
    special[token.id] = token.isSpecial ? 1 : 0
    texts[token.id] = token.isSpecial ? EMPTY : encoder.encode(token.content)
  }
  return new PackedTokenTable(texts, special)
}

const EMPTY = new Uint8Array(0)

/** All bytes end to end: one allocation instead of one small object a token. */
class PackedTokenTable implements TokenTable {
  readonly numTokens: number
  readonly longestTokenBytes: number
  readonly #special: Uint8Array
  readonly #bytes: Uint8Array
  readonly #starts: Uint32Array

  constructor(texts: readonly Uint8Array[], special: Uint8Array) {
    this.numTokens = texts.length
    this.#special = special
    this.#starts = new Uint32Array(texts.length + 1)
    let longest = 0
    for (let id = 0; id < texts.length; id++) {
      longest = Math.max(longest, texts[id]!.length)
      this.#starts[id + 1] = this.#starts[id]! + texts[id]!.length
    }
    this.longestTokenBytes = longest
    this.#bytes = new Uint8Array(this.#starts[texts.length]!)
    texts.forEach((text, id) => {
      this.#bytes.set(text, this.#starts[id])
    })
  }

  bytes(tokenId: number): Uint8Array {
    if (!this.#has(tokenId)) return EMPTY
    return this.#bytes.subarray(this.#starts[tokenId], this.#starts[tokenId + 1])
  }

  isSpecial(tokenId: number): boolean {
    return this.#has(tokenId) && this.#special[tokenId] === 1
  }

  #has(tokenId: number): boolean {
    return tokenId >= 0 && tokenId < this.numTokens
  }
}
