import t from 'tap'
import type { ByteSource } from '../../../engine/model/byte-source.js'
import { GgufCursor, MAX_HEADER_BYTES } from '../../../engine/model/gguf-cursor.js'
import { text, u32, u64 } from './support/build-gguf.js'
import { MemoryBytes } from './support/memory-bytes.js'

const cursorOf = (...parts: Buffer[]) => new GgufCursor(new MemoryBytes(Buffer.concat(parts)))

t.test('numbers and strings in order', async (t) => {
  const cursor = cursorOf(Buffer.from([7]), u32(70_000), u64(2n ** 40n), text('grüße'))
  t.equal(cursor.uint8('a'), 7)
  t.equal(cursor.uint32('b'), 70_000)
  t.equal(cursor.size('c'), 2 ** 40)
  t.equal(cursor.string('d'), 'grüße')
  t.equal(cursor.numBytesLeft, 0)
  t.throws(() => cursor.uint8('e'), /e: needs 1 bytes at offset 28, but the file ends at 28/)
})

t.test('lengths that lie are refused before anything is allocated', async (t) => {
  t.throws(() => cursorOf(u64(2n ** 64n - 1n)).string('s'), /is 18446744073709551615/)
  t.throws(() => cursorOf(u64(17n * 2n ** 20n)).string('s'), /the limit is 16777216/)
  t.throws(() => cursorOf(u64(5n), Buffer.from('four')).string('s'), /cut short/)
  t.throws(() => cursorOf(u64(4n), Buffer.from('four')).string('s', 3), /4 bytes, the limit is 3/)
})

t.test('U+FFFD itself is text, broken UTF-8 is not', async (t) => {
  t.equal(cursorOf(text('a\ufffdb')).string('s'), 'a\ufffdb')
  t.throws(() => cursorOf(u64(2n), Buffer.from([0xc3, 0x28])).string('s'), /not valid UTF-8/)
})

t.test(
  'reads are bounded: windows of a megabyte, and a header no longer than its limit',
  async (t) => {
    const reads: number[] = []
    const source: ByteSource = {
      path: 'large',
      byteLength: 2 ** 40,
      read: (_offset, length) => {
        reads.push(length)
        return Buffer.alloc(length)
      },
    }
    const cursor = new GgufCursor(source)
    for (let i = 0; i < 300; i++) cursor.take(4096, 'x')
    t.same(reads, [2 ** 20, 2 ** 20])
    t.throws(() => cursor.take(MAX_HEADER_BYTES, 'x'), /lies past the first 268435456 bytes/)
    t.equal(reads.length, 2)
  },
)
