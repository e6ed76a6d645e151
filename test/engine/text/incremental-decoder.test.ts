import fc from 'fast-check'
import t from 'tap'
import { IncrementalDecoder } from '../../../engine/text/incremental-decoder.js'
import type { TokenTable } from '../../../engine/text/token-table.js'

/** A table whose token i is the i-th piece. */
function tableOf(pieces: readonly Uint8Array[]): TokenTable {
  return {
    numTokens: pieces.length,
    longestTokenBytes: 8,
    bytes: (id) => pieces[id] ?? new Uint8Array(0),
    isSpecial: () => false,
  }
}

function decodeAll(pieces: readonly Uint8Array[]): string[] {
  const decoder = new IncrementalDecoder(tableOf(pieces))
  return [...pieces.map((_, id) => decoder.push(id)), decoder.flush()]
}

const whole = (bytes: Uint8Array) => new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)

t.test('a character is given out once its last byte is there', async (t) => {
  const bytes = [...Buffer.from('a😀é')].map((byte) => Uint8Array.of(byte))
  t.strictSame(decodeAll(bytes), ['a', '', '', '', '😀', '', 'é', ''])
})

t.test('what was never finished ends as U+FFFD', async (t) => {
  t.strictSame(decodeAll([Uint8Array.of(0x61, 0xf0, 0x9f)]), ['a', '\ufffd'])
  t.strictSame(decodeAll([Uint8Array.of(0xe2), Uint8Array.of(0x41)]), ['', '\ufffdA', ''])
  t.strictSame(decodeAll([Uint8Array.of(0xff), Uint8Array.of(0x80)]), ['\ufffd', '\ufffd', ''])
})

t.test('a byte order mark is kept, special tokens say nothing', async (t) => {
  const bom = Uint8Array.of(0xef, 0xbb, 0xbf)
  t.strictSame(decodeAll([bom, new Uint8Array(0), bom]), ['\ufeff', '', '\ufeff', ''])
})

const interestingByte = fc.oneof(
  fc.constantFrom(
    0x41,
    0x80,
    0xbf,
    0xc0,
    0xc3,
    0xe0,
    0xed,
    0xa0,
    0xef,
    0xbb,
    0xf0,
    0x90,
    0xf4,
    0xf5,
  ),
  fc.integer({ min: 0, max: 255 }),
)
const pieces = fc.array(
  fc.oneof(
    fc.array(interestingByte, { maxLength: 6 }).map((bytes) => Uint8Array.from(bytes)),
    fc.string({ unit: 'grapheme', maxLength: 4 }).map((text) => new Uint8Array(Buffer.from(text))),
  ),
  { maxLength: 20 },
)

t.test('pieces join to what a decoder gives for all bytes at once', async () => {
  fc.assert(
    fc.property(pieces, (list) => {
      return decodeAll(list).join('') === whole(Buffer.concat(list))
    }),
    { numRuns: 3000 },
  )
})

t.test('a piece never ends or starts inside of a character', async () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 1, max: 5 }), (text, size) => {
      // A text may hold the replacement character itself; here it would look like a broken one.
      fc.pre(!text.includes('\ufffd'))
      const bytes = Buffer.from(text)
      const list: Uint8Array[] = []
      for (let i = 0; i < bytes.length; i += size) list.push(bytes.subarray(i, i + size))
      return decodeAll(list).every((piece) => !/[\ufffd\p{Surrogate}]/u.test(piece))
    }),
    { numRuns: 1000 },
  )
})
