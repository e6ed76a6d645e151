import t from 'tap'
import { configFromGguf } from '../../../engine/model/config-gguf.js'
import { readGguf } from '../../../engine/model/gguf.js'
import { ModelFileError } from '../../../engine/model/model-description.js'
import { buildGguf, float32, string, uint32, type Value } from './support/build-gguf.js'
import { MemoryBytes } from './support/memory-bytes.js'
import { tinyGguf, tinyGgufWith } from './support/tiny-models.js'

const read = (changes: Record<string, Value | undefined> = {}) =>
  configFromGguf(readGguf(new MemoryBytes(tinyGgufWith(changes))))

t.test('the tiny model', async (t) => {
  t.same(read(), {
    architecture: 'llama',
    numLayers: 1,
    hiddenSize: 8,
    intermediateSize: 8,
    numHeads: 1,
    numKvHeads: 1,
    headDim: 8,
    vocabSize: 4,
    maxContextLen: 64,
    rmsNormEpsilon: Math.fround(1e-5),
    ropeTheta: 10_000,
    ropeScaling: null,
    hasQkvBias: false,
    hasQkNorm: false,
    hasTiedEmbeddings: true,
  })
})

t.test('an output matrix of its own means that the embedding is not tied', async (t) => {
  const spec = tinyGguf()
  const output = { ...spec.tensors[0]!, name: 'output.weight' }
  const bytes = buildGguf({ ...spec, tensors: [...spec.tensors, output] })
  t.equal(configFromGguf(readGguf(new MemoryBytes(bytes))).hasTiedEmbeddings, false)
})

t.test('keys that may be left out', async (t) => {
  t.equal(read({ 'llama.attention.head_count_kv': undefined }).numKvHeads, 1)
  t.equal(read({ 'llama.rope.freq_base': undefined }).ropeTheta, 10_000)
  t.equal(
    read({ 'llama.attention.key_length': uint32(16), 'llama.attention.value_length': uint32(16) })
      .headDim,
    16,
  )
  t.doesNotThrow(() => read({ 'llama.vocab_size': uint32(3) }))
  t.doesNotThrow(() => read({ 'llama.rope.scaling.type': string('none') }))
})

t.test('whatever is not built, or does not fit, is refused by name', async (t) => {
  const cases: [Record<string, Value | undefined>, RegExp][] = [
    [
      { 'general.architecture': string('gemma3') },
      /is "gemma3"; supported are llama, qwen2, qwen3/,
    ],
    [{ 'general.architecture': undefined }, /general.architecture: is missing/],
    [{ 'general.type': string('adapter') }, /is "adapter"; supported is "model"/],
    [{ 'split.count': uint32(3) }, /split over several files/],
    [{ 'llama.expert_count': uint32(8) }, /llama.expert_count: is 8/],
    [{ 'llama.attention.sliding_window': uint32(512) }, /sliding_window: is 512/],
    [{ 'llama.rope.scaling.type': string('yarn') }, /"yarn" by 1, which is not supported/],
    [{ 'llama.rope.scale_linear': float32(2) }, /scale_linear: is 2/],
    [{ 'llama.rope.dimension_count': uint32(4) }, /is 4; supported is the head dimension, 8/],
    [{ 'llama.attention.value_length': uint32(16) }, /value_length: is 16/],
    [{ 'llama.block_count': undefined }, /llama.block_count: is missing, allowed are/],
    [{ 'llama.block_count': uint32(0) }, /llama.block_count: is 0, allowed are integers from 1/],
    [{ 'llama.block_count': uint32(2 ** 31) }, /block_count: is 2147483648/],
    [{ 'llama.attention.head_count': uint32(0) }, /head_count: is 0/],
    [{ 'llama.attention.head_count': uint32(3) }, /key_length: is 2.66/],
    [
      { 'llama.feed_forward_length': { type: 'int32s', value: [8] } },
      /is int32\[\], expected is an/,
    ],
    [{ 'llama.attention.layer_norm_rms_epsilon': float32(-1) }, /rms_epsilon: is -1/],
    [{ 'llama.rope.freq_base': float32(Number.POSITIVE_INFINITY) }, /freq_base: is Infinity/],
    [{ 'llama.vocab_size': uint32(5) }, /is 5, but the embedding has 4 rows/],
  ]
  for (const [changes, message] of cases) {
    t.throws(() => read(changes), ModelFileError, String(message))
    t.throws(() => read(changes), message, String(message))
  }
  const spec = tinyGguf()
  const bytes = buildGguf({ ...spec, tensors: spec.tensors.slice(1) })
  const file = readGguf(new MemoryBytes(bytes))
  t.throws(() => configFromGguf(file), /"token_embd.weight" \(rows\): is missing/)
})
