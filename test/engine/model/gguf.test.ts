import fc from 'fast-check'
import t from 'tap'
import { readGguf } from '../../../engine/model/gguf.js'
import { ModelFileError } from '../../../engine/model/model-description.js'
import { buildGguf, type GgufSpec, string, type TensorSpec, uint32 } from './support/build-gguf.js'
import { MemoryBytes } from './support/memory-bytes.js'
import { tinyGguf, tinyGgufWith } from './support/tiny-models.js'

const read = (bytes: Buffer) => readGguf(new MemoryBytes(bytes))

const F32: TensorSpec = { name: 'x', dims: [8], typeId: 0, data: Buffer.alloc(32) }

function withTensor(change: Partial<TensorSpec>, spec: Partial<GgufSpec> = {}): Buffer {
  return buildGguf({ metadata: [], tensors: [{ ...F32, ...change }], ...spec })
}

t.test('a small file, whole', async (t) => {
  const bytes = buildGguf(tinyGguf())
  const file = read(bytes)
  t.equal(file.version, 3)
  t.equal(file.dataStart % 32, 0)
  t.equal(file.tensors.length, 11)
  t.same(file.tensors[0], {
    name: 'token_embd.weight',
    type: 'f32',
    shape: [4, 8],
    offset: file.dataStart,
    byteLength: 128,
  })
  const last = file.tensors.at(-1)!
  t.equal(last.offset + last.byteLength, bytes.byteLength)
  t.equal(read(buildGguf({ ...tinyGguf(), version: 2 })).version, 2)
})

t.test('cut at every byte, it is refused whole', async (t) => {
  const bytes = buildGguf(tinyGguf())
  for (let length = 0; length < bytes.byteLength; length++) {
    try {
      read(bytes.subarray(0, length))
      t.fail(`accepted with ${length} of ${bytes.byteLength} bytes`)
    } catch (error) {
      if (!(error instanceof ModelFileError)) throw error
      if (!/cut short|left for the header/.test(error.message))
        t.fail(`at ${length}: ${error.message}`)
    }
  }
})

t.test('numbers that wrap elsewhere, each with its refusal (F1 to F5)', async (t) => {
  const max = 2n ** 64n - 1n
  const zeros = Buffer.alloc(32)
  const cases: [string, Buffer, RegExp][] = [
    ['dimension 0', withTensor({ dims: [0] }), /dimension of 0/],
    ['dimension 2^62', withTensor({ dims: [2n ** 62n] }), /the limit is 9007199254740991/],
    ['dimension 2^31 + 1', withTensor({ dims: [2n ** 31n + 1n] }), /allowed are 1 to 2147483648/],
    ['product wraps to 0', withTensor({ dims: [2 ** 31, 2 ** 31, 4] }), /larger than 2\^53/],
    ['bytes wrap, elements do not', withTensor({ dims: [2 ** 26, 2 ** 26] }), /larger than 2\^53/],
    ['one element more than there is', withTensor({ dims: [9] }), /cut short/],
    ['no dimensions', withTensor({ dims: [] }), /0 dimensions/],
    ['five dimensions', withTensor({ dims: [1, 1, 1, 1, 1] }), /5 dimensions/],
    ['2^32 - 1 dimensions', withTensor({ numDims: 2 ** 32 - 1 }), /4294967295 dimensions/],
    ['offset past the end', withTensor({ offset: 64n }), /cut short/],
    ['offset 2^64 - 32', withTensor({ offset: max - 31n }), /the limit is 9007199254740991/],
    ['offset + size wraps', withTensor({ offset: 2n ** 53n - 32n }), /cut short/],
    ['offset unaligned', withTensor({ offset: 16n }), /no multiple of 32/],
    ['n_tensors 2^64 - 1', withTensor({}, { numTensors: max }), /tensor_count: is 1844674407370/],
    ['n_tensors over the limit', withTensor({}, { numTensors: 65_537n }), /allowed are 1 to 65536/],
    ['n_tensors 0', withTensor({}, { numTensors: 0n }), /allowed are 1 to 65536/],
    ['n_kv 2^64 - 1', withTensor({}, { numKeys: max }), /metadata_kv_count: is 1844674407370/],
    ['n_kv over the limit', withTensor({}, { numKeys: 65_537n }), /the limit is 65536/],
    ['long tensor name', withTensor({ name: 'x'.repeat(65) }), /65 bytes, the limit is 64/],
    ['type Q4_K', withTensor({ typeId: 12 }), /type Q4_K; supported are F32, F16, BF16, Q8_0/],
    ['type 99', withTensor({ typeId: 99 }), /unknown type 99/],
    ['half a block', withTensor({ dims: [16], typeId: 8 }), /packs them by 32/],
    ['magic', withTensor({}, { magic: 'GGML' }), /is "GGML"/],
    ['version 1', withTensor({}, { version: 1 }), /is 1, supported are 2 and 3/],
    ['big-endian', withTensor({}, { version: 0x03000000 }), /big-endian/],
    [
      'names twice',
      buildGguf({ metadata: [], tensors: [F32, { ...F32, data: zeros }] }),
      /occurs twice/,
    ],
    [
      'overlap',
      buildGguf({ metadata: [], tensors: [F32, { ...F32, name: 'y', offset: 0n, data: zeros }] }),
      /inside of tensor "x"/,
    ],
  ]
  for (const alignment of [0, 3, 4, 12, 2 ** 31]) {
    const metadata = [['general.alignment', uint32(alignment)]] as const
    cases.push([
      `alignment ${alignment}`,
      withTensor({}, { metadata }),
      /allowed are powers of two/,
    ])
  }
  const metadata = [['general.alignment', string('32')]] as const
  cases.push(['alignment as text', withTensor({}, { metadata }), /is string, expected is an int/])
  for (const [name, bytes, message] of cases) {
    t.throws(() => read(bytes), ModelFileError, name)
    t.throws(() => read(bytes), message, name)
  }
})

t.test('each limit is met by a file that is still accepted', async (t) => {
  t.equal(read(withTensor({ name: 'x'.repeat(64) })).tensors[0]?.name.length, 64)
  t.same(read(withTensor({ dims: [1, 2, 1, 4] })).tensors[0]?.shape, [4, 1, 2, 1])
  for (const alignment of [8, 65_536]) {
    const bytes = withTensor(
      {},
      { alignment, metadata: [['general.alignment', uint32(alignment)]] },
    )
    t.equal(read(bytes).dataStart % alignment, 0)
  }
})

t.test('mutations neither crash nor hang, and are refused with a reason', async (t) => {
  const valid = buildGguf(tinyGguf())
  const { dataStart } = read(valid)
  const edit = fc.record({
    at: fc.nat(dataStart - 1),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
  })
  let numAccepted = 0
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
      const bytes = Buffer.from(valid)
      for (const { at, bytes: patch } of edits) bytes.set(patch.subarray(0, valid.length - at), at)
      try {
        const { tensors } = read(bytes)
        numAccepted++
        for (const { offset, byteLength } of tensors) {
          if (offset + byteLength > bytes.byteLength) throw new Error('past the end')
        }
        // A second look gives the same.
        if (JSON.stringify(read(bytes).tensors) !== JSON.stringify(tensors))
          throw new Error('differs')
      } catch (error) {
        if (!(error instanceof ModelFileError)) throw error
      }
    }),
    { numRuns: 5000 },
  )
  t.ok(numAccepted > 0, 'some mutations only change a value')
})

t.test('a large vocabulary passes through a small window', async (t) => {
  const value = Array.from({ length: 120_000 }, (_, i) => `token number ${i} of many`)
  const bytes = tinyGgufWith({ 'tokenizer.ggml.tokens': { type: 'strings', value } })
  const tokens = read(bytes).metadata.requireStrings('tokenizer.ggml.tokens')
  t.equal(tokens.length, 120_000)
  t.equal(tokens[119_999], 'token number 119999 of many')
})
