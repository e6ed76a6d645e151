/**
 * GPT-2's printable alphabet for bytes: byte-level vocabularies store each byte as one character.
 * Printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up, in order.
 */
const CHAR_OF_BYTE: readonly string[] = makeAlphabet()
const BYTE_OF_CHAR: ReadonlyMap<string, number> = new Map(
  CHAR_OF_BYTE.map((char, byte) => [char, byte]),
)

function makeAlphabet(): string[] {
  const alphabet: string[] = []
  let numShifted = 0
  for (let byte = 0; byte < 256; byte++) {
    const isPrintable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
    alphabet.push(String.fromCharCode(isPrintable ? byte : 0x100 + numShifted++))
  }
  return alphabet
}

/** The bytes behind a token of a byte-level vocabulary; undefined if a character is not in the alphabet. */
export function bytesOfToken(token: string): Uint8Array | undefined {
  const bytes = new Uint8Array(token.length)
  for (let i = 0; i < token.length; i++) {
    const byte = BYTE_OF_CHAR.get(token[i]!)
    if (byte === undefined) return undefined
    bytes[i] = byte
  }
  return bytes
}

/** Bytes as a byte-level vocabulary spells them. */
export function tokenOfBytes(bytes: Iterable<number>): string {
  let token = ''
  for (const byte of bytes) token += CHAR_OF_BYTE[byte]
  return token
}
