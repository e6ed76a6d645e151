import type { TokenTable } from '../../../engine/text/token-table.js'

/** Tokens 0 to 255 are single bytes; 256 is special and 257 is " stop". */
export const byteTokens: TokenTable = {
  numTokens: 258,
  longestTokenBytes: 5,
  bytes: (tokenId) => {
    if (tokenId < 256) return Uint8Array.of(tokenId)
    return tokenId === 257 ? Buffer.from(' stop') : new Uint8Array(0)
  },
  isSpecial: (tokenId) => tokenId === 256,
}
