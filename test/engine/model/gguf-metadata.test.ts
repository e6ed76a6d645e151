import t from 'tap'
import { readGguf } from '../../../engine/model/gguf.js'
import type { GgufMetadata } from '../../../engine/model/gguf-metadata.js'
import { ModelFileError } from '../../../engine/model/model-description.js'
import { buildGguf, float32, string, u32, u64, uint32, type Value } from './support/build-gguf.js'
import { MemoryBytes } from './support/memory-bytes.js'

const TENSOR = { name: 'x', dims: [1], typeId: 0, data: Buffer.alloc(4) }

function metadataOf(...metadata: [string, Value][]): GgufMetadata {
  return readGguf(new MemoryBytes(buildGguf({ metadata, tensors: [TENSOR] }))).metadata
}

t.test('typed getters give what the file states', async (t) => {
  const metadata = metadataOf(
    ['u8', { type: 'uint8', value: 200 }],
    ['i8', { type: 'int8', value: -3 }],
    ['u32', uint32(7)],
    ['u64', { type: 'uint64', value: 2n ** 40n }],
    ['f32', float32(0.5)],
    ['bool', { type: 'bool', value: 1 }],
    ['string', string('grüße')],
    ['strings', { type: 'strings', value: ['a', '', 'c'] }],
    ['int32s', { type: 'int32s', value: [1, -2] }],
    ['float32s', { type: 'float32s', value: [0.25] }],
  )
  t.equal(metadata.integer('u8'), 200)
  t.equal(metadata.integer('i8'), -3)
  t.equal(metadata.requireInteger('u64'), 2 ** 40)
  t.equal(metadata.number('u32'), 7)
  t.equal(metadata.requireNumber('f32'), 0.5)
  t.equal(metadata.requireBoolean('bool'), true)
  t.equal(metadata.requireString('string'), 'grüße')
  t.same(metadata.requireStrings('strings', 3), ['a', '', 'c'])
  t.same([...Array.from(metadata.requireNumbers('int32s'))], [1, -2])
  t.same([...metadata.floats('float32s', 1)!], [0.25])
  t.equal(metadata.has('absent'), false)
  t.equal(metadata.string('absent'), undefined)
  t.equal([...metadata.keys()].length, 10)
  t.throws(() => metadata.requireStrings('absent'), /absent: is missing from the metadata/)
})

t.test('a getter never reads one type as another (F4)', async (t) => {
  const metadata = metadataOf(
    ['scores', { type: 'int8s', value: [1, 2, 3] }],
    ['floats', { type: 'float32s', value: [1] }],
    ['tokens', string('a')],
    ['count', float32(3)],
    ['flag', uint32(1)],
    ['big', { type: 'uint64', value: 2n ** 60n }],
    ['nan', float32(Number.NaN)],
  )
  t.throws(() => metadata.floats('scores'), /scores: is int8\[\], expected is an array of floats/)
  t.throws(() => metadata.integers('floats'), /is float32\[\], expected is an array of integers/)
  t.throws(() => metadata.strings('tokens'), /is string, expected is an array of strings/)
  t.throws(() => metadata.string('count'), /is float32, expected is a string/)
  t.throws(() => metadata.integer('count'), /is float32, expected is an integer/)
  t.throws(() => metadata.boolean('flag'), /is uint32, expected is a bool/)
  t.throws(() => metadata.number('tokens'), /is string, expected is a number/)
  t.throws(() => metadata.integer('big'), /1152921504606846976, which is outside/)
  t.throws(() => metadata.number('nan'), /is NaN/)
  t.throws(() => metadata.integers('scores', 4), /has 3 elements, expected are 4/)
})

t.test('what is no value is refused', async (t) => {
  const raw = (...parts: Buffer[]): Value => ({ type: 'raw', value: Buffer.concat(parts) })
  const cases: [string, Value, RegExp][] = [
    ['type 13', raw(u32(13)), /value type 13, known are 0 to 12/],
    ['bool 2', { type: 'bool', value: 2 }, /bool of value 2/],
    ['array of arrays', raw(u32(9), u32(9), u64(1n)), /array of arrays/],
    ['array of type 13', raw(u32(9), u32(13), u64(1n)), /elements of type 13/],
    ['2^61 doubles', raw(u32(9), u32(12), u64(2n ** 61n)), /the limit is 9007199254740991/],
    ['2^50 strings', raw(u32(9), u32(8), u64(2n ** 50n)), /bytes are left for the header/],
    ['1000 floats too many', raw(u32(9), u32(6), u64(1000n)), /1000 elements of at least 4 bytes/],
    ['string over the end', raw(u32(8), u64(1000n)), /cut short/],
  ]
  for (const [name, value, message] of cases) {
    t.throws(() => metadataOf(['key', value]), ModelFileError, name)
    t.throws(() => metadataOf(['key', value]), message, name)
  }
  t.throws(() => metadataOf(['a', uint32(1)], ['a', uint32(1)]), /"a": occurs twice/)
  t.throws(() => metadataOf(['k'.repeat(65_536), uint32(1)]), /the limit is 65535/)
})
