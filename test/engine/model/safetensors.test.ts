import fc from 'fast-check'
import t from 'tap'
import { ModelFileError } from '../../../engine/model/model-description.js'
import { readSafetensors } from '../../../engine/model/safetensors.js'
import { buildSafetensors, safetensorsOf } from './support/build-safetensors.js'
import { MemoryBytes } from './support/memory-bytes.js'
import { tinyTensors } from './support/tiny-models.js'

const read = (bytes: Buffer) => readSafetensors(new MemoryBytes(bytes))
const VALID = buildSafetensors(tinyTensors(), { format: 'pt' })

/** A header that is wrong in one way, before eight bytes of data. */
function withHeader(header: unknown, numDataBytes = 8): Buffer {
  const text = typeof header === 'string' ? header : JSON.stringify(header)
  return safetensorsOf(text, Buffer.alloc(numDataBytes))
}

const entry = (change: object = {}) => ({
  x: { dtype: 'F32', shape: [2], data_offsets: [0, 8], ...change },
})

t.test('a small file, whole, in each type', async (t) => {
  for (const [dtype, type, size] of [
    ['F32', 'f32', 4],
    ['F16', 'f16', 2],
    ['BF16', 'bf16', 2],
  ] as const) {
    const bytes = buildSafetensors(tinyTensors(dtype))
    const { tensors, headerBytes } = read(bytes)
    t.match(tensors[0], {
      name: 'model.embed_tokens.weight',
      type,
      shape: [4, 8],
      byteLength: 32 * size,
      offset: headerBytes.byteLength,
    })
    const last = tensors.at(-1)!
    t.equal(last.offset + last.byteLength, bytes.byteLength)
  }
})

t.test('cut at every byte, or longer by one, it is refused', async (t) => {
  for (let length = 0; length < VALID.byteLength; length++) {
    try {
      read(VALID.subarray(0, length))
      t.fail(`accepted with ${length} of ${VALID.byteLength} bytes`)
    } catch (error) {
      if (!(error instanceof ModelFileError)) throw error
      if (!/cut short/.test(error.message)) t.fail(`at ${length}: ${error.message}`)
    }
  }
  t.throws(() => read(Buffer.concat([VALID, Buffer.from([0])])), /1 bytes behind the last tensor/)
})

t.test('bloat, overlap, holes and wraps, each with its refusal (F1, F2, F6)', async (t) => {
  const many = Object.fromEntries(Array.from({ length: 65_537 }, (_, i) => [`t${i}`, entry().x]))
  const two = (first: [number, number], second: [number, number]) => ({
    a: { dtype: 'F32', shape: [(first[1] - first[0]) / 4], data_offsets: first },
    b: { dtype: 'F32', shape: [(second[1] - second[0]) / 4], data_offsets: second },
  })
  const cases: [string, Buffer, RegExp][] = [
    ['header of 17 MB', safetensorsOf('{}', Buffer.alloc(0), 17_000_000n), /2 to 16777216 bytes/],
    ['header of 2^64 - 1', safetensorsOf('{}', Buffer.alloc(0), 2n ** 64n - 1n), /2 to 16777216/],
    ['header of 0', safetensorsOf('{}', Buffer.alloc(0), 0n), /is 0, allowed are 2/],
    ['header over the end', safetensorsOf('{}', Buffer.alloc(0), 100n), /cut short/],
    ['no tensors', withHeader({}), /lists 0 tensors/],
    ['too many tensors', withHeader(many), /lists 65537 tensors, allowed are 1 to 65536/],
    ['key twice', withHeader('{"x":1,"x":2}'), /has the key "x" twice/],
    ['not JSON', withHeader('{"x":'), /not valid JSON/],
    ['an array', withHeader('[]'), /not a JSON object/],
    ['metadata', withHeader({ __metadata__: { a: 1 }, ...entry() }), /not an object of strings/],
    ['entry is no object', withHeader({ x: 1 }), /"x": is not an object/],
    ['dtype F64', withHeader(entry({ dtype: 'F64' })), /"F64"; supported are F32, F16, BF16/],
    ['dtype F8_E4M3', withHeader(entry({ dtype: 'F8_E4M3' })), /"F8_E4M3"; supported/],
    ['dtype missing', withHeader(entry({ dtype: undefined })), /dtype missing; supported/],
    ['dimension 0', withHeader(entry({ shape: [0] })), /dimension of 0/],
    ['dimension -1', withHeader(entry({ shape: [-1] })), /no list of integers/],
    ['dimension 2^62', withHeader(entry({ shape: [2 ** 62] })), /no list of integers/],
    ['dimension 1e999', withHeader('{"x":{"dtype":"F32","shape":[1e999]}}'), /no list of integers/],
    ['product wraps', withHeader(entry({ shape: [2 ** 31, 2 ** 31] })), /larger than 2\^53/],
    ['bytes wrap', withHeader(entry({ shape: [2 ** 26, 2 ** 26] })), /larger than 2\^53/],
    ['five dimensions', withHeader(entry({ shape: [1, 1, 1, 1, 2] })), /5 dimensions/],
    ['shape as text', withHeader(entry({ shape: '2' })), /shape that is no list/],
    ['one offset', withHeader(entry({ data_offsets: [0] })), /not \[begin, end\]/],
    ['offsets reversed', withHeader(entry({ data_offsets: [8, 0] })), /not \[begin, end\]/],
    ['longer than its shape', withHeader(entry({ shape: [1] })), /has 8 bytes of data, but F32 x/],
    ['past the end', withHeader(entry({ shape: [4], data_offsets: [0, 16] })), /cut short/],
    ['overlap', withHeader(two([0, 8], [4, 12]), 12), /an overlap/],
    ['the same bytes twice', withHeader(two([0, 8], [0, 8])), /an overlap/],
    ['a gap', withHeader(two([0, 4], [8, 12]), 12), /a gap/],
    ['a gap at the start', withHeader(entry({ shape: [1], data_offsets: [4, 8] })), /a gap/],
    ['unaligned', unaligned(), /unaligned for its type/],
    ['long name', withHeader({ ['n'.repeat(257)]: entry().x }), /257 characters/],
  ]
  for (const [name, bytes, message] of cases) {
    t.throws(() => read(bytes), ModelFileError, name)
    t.throws(() => read(bytes), message, name)
  }
})

/** A header whose length is no multiple of four. */
function unaligned(): Buffer {
  const header = JSON.stringify(entry()).padEnd(66)
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(66n)
  return Buffer.concat([prefix, Buffer.from(header), Buffer.alloc(8)])
}

t.test('mutations are refused with a reason, or every tensor lies in the file', async (t) => {
  const headerLength = Number(VALID.readBigUInt64LE()) + 8
  const edit = fc.record({
    at: fc.nat(headerLength - 1),
    byte: fc.oneof(
      fc.constantFrom(...'0123456789[]{},:"'),
      fc.string({ minLength: 1, maxLength: 1 }),
    ),
  })
  let numAccepted = 0
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
      const bytes = Buffer.from(VALID)
      for (const { at, byte } of edits) bytes.write(byte, at, 1, 'latin1')
      try {
        const { tensors } = read(bytes)
        numAccepted++
        // The cover, computed in another way: marks on every byte of the data.
        const marks = new Uint8Array(bytes.byteLength)
        for (const { offset, byteLength } of tensors) {
          for (let i = offset; i < offset + byteLength; i++) marks[i]! += 1
        }
        const dataStart = Number(bytes.readBigUInt64LE()) + 8
        if (!marks.subarray(dataStart).every((mark) => mark === 1)) throw new Error('no cover')
      } catch (error) {
        if (!(error instanceof ModelFileError)) throw error
      }
    }),
    { numRuns: 3000 },
  )
  t.ok(numAccepted > 0, 'some mutations only change a name')
})
