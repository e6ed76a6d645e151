import fc from 'fast-check'
import t from 'tap'
import { configFromJson, refuseCode } from '../../../engine/model/config-json.js'
import { ModelFileError } from '../../../engine/model/model-description.js'
import { tinyConfig } from './support/tiny-models.js'

const read = (change: object = {}) => configFromJson('config.json', { ...tinyConfig(), ...change })

const LLAMA3 = {
  rope_type: 'llama3',
  factor: 32,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 8192,
}

t.test('the tiny config, as it is and as other architectures', async (t) => {
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
    rmsNormEpsilon: 1e-5,
    ropeTheta: 10_000,
    ropeScaling: null,
    hasQkvBias: false,
    hasQkNorm: false,
    hasTiedEmbeddings: true,
  })
  t.match(read({ architectures: ['Qwen2ForCausalLM'] }), { hasQkvBias: true, hasQkNorm: false })
  t.match(read({ architectures: ['Qwen3ForCausalLM'] }), { hasQkNorm: true, headDim: 128 })
})

t.test('what a config leaves out means what its architecture says', async (t) => {
  t.equal(read({ num_key_value_heads: undefined, num_attention_heads: 1 }).numKvHeads, 1)
  t.equal(read({ head_dim: null, hidden_size: 16 }).headDim, 16)
  t.equal(read({ head_dim: 16 }).headDim, 16)
  t.equal(read({ tie_word_embeddings: undefined }).hasTiedEmbeddings, false)
  t.equal(read({ rope_theta: undefined }).ropeTheta, 10_000)
})

t.test('rope, in the older spelling and the newer one', async (t) => {
  const scaling = {
    kind: 'llama3',
    factor: 32,
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalMaxContextLen: 8192,
  }
  t.same(read({ rope_scaling: LLAMA3 }).ropeScaling, scaling)
  t.same(
    read({ rope_scaling: { ...LLAMA3, rope_type: undefined, type: 'llama3' } }).ropeScaling,
    scaling,
  )
  const newer = read({ rope_theta: undefined, rope_parameters: { ...LLAMA3, rope_theta: 5e5 } })
  t.match(newer, { ropeScaling: scaling, ropeTheta: 5e5 })
  t.equal(read({ rope_parameters: { rope_type: 'default', rope_theta: 7 } }).ropeScaling, null)
  t.equal(read({ rope_scaling: null }).ropeScaling, null)
})

t.test('whatever would change the mathematics is refused by name', async (t) => {
  const qwen2 = { architectures: ['Qwen2ForCausalLM'] }
  const cases: [object, RegExp][] = [
    [{ architectures: ['MixtralForCausalLM'] }, /\["MixtralForCausalLM"\]; supported are Llama/],
    [{ architectures: undefined }, /architectures: is missing/],
    [{ architectures: ['LlamaForCausalLM', 'LlamaForCausalLM'] }, /supported are/],
    [{ auto_map: { AutoModel: 'modeling.py' } }, /auto_map: names Python code/],
    [{ quantization_config: { quant_method: 'gptq' } }, /quantised by "gptq"/],
    [{ compression_config: {} }, /compression_config: says the weights are quantised/],
    [{ hidden_act: 'gelu' }, /hidden_act: is "gelu"; supported is "silu"/],
    [{ attention_bias: true }, /attention_bias: is true/],
    [{ mlp_bias: true }, /mlp_bias: is true/],
    [{ mlp_bias: 'no' }, /mlp_bias: is "no", expected is true or false/],
    [{ rope_scaling: { type: 'yarn', factor: 4 } }, /rope_scaling.rope_type: is "yarn"; supported/],
    [{ rope_parameters: { rope_type: 'longrope' } }, /rope_parameters.rope_type: is "longrope"/],
    [{ rope_scaling: [] }, /rope_scaling: is \[\], expected is an object/],
    [{ rope_scaling: { ...LLAMA3, factor: 0 } }, /rope_scaling.factor: is 0/],
    [{ rope_scaling: { ...LLAMA3, high_freq_factor: 1 } }, /must be above low_freq_factor/],
    [{ partial_rotary_factor: 0.5 }, /partial_rotary_factor: is 0.5/],
    [{ ...qwen2, use_mrope: true }, /use_mrope/],
    [{ rope_interleaved: true }, /rope_interleaved/],
    [{ ...qwen2, use_sliding_window: true, sliding_window: 32 }, /window of 32: sliding windows/],
    [{ layer_types: ['sliding_attention'] }, /layer_types: is \["sliding_attention"\]/],
  ]
  for (const [change, message] of cases) {
    t.throws(() => read(change), ModelFileError, JSON.stringify(change))
    t.throws(() => read(change), message, JSON.stringify(change))
  }
})

t.test('a sliding window that is switched off does no harm', async (t) => {
  const qwen2 = { architectures: ['Qwen2ForCausalLM'], sliding_window: 32 }
  t.doesNotThrow(() => read({ ...qwen2, use_sliding_window: false }))
  t.doesNotThrow(() => read({ ...qwen2, use_sliding_window: true, max_window_layers: 1 }))
  t.doesNotThrow(() => read({ ...qwen2, layer_types: ['full_attention'] }))
})

t.test('code named by a model is refused wherever it stands', async (t) => {
  t.throws(() => refuseCode('tokenizer_config.json', { auto_map: {} }), /No code of a model/)
  t.doesNotThrow(() => refuseCode('x', { auto_map: null }))
})

t.test('any config is read within its bounds or refused (F9)', async (t) => {
  const keys = [...Object.keys(tinyConfig()), 'head_dim', 'rope_scaling', 'rope_parameters']
  const value = fc.oneof(
    fc.constantFrom(0, -1, 1, 3, 8, 2 ** 31, 2 ** 53, 1e308, 0.5, null, '8', true, [], {}),
    fc.double(),
    fc.integer(),
    fc.constant(LLAMA3),
  )
  let numAccepted = 0
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...keys), value), (change) => {
      try {
        const config = read(change)
        numAccepted++
        for (const size of Object.values(config)) {
          if (typeof size === 'number' && !(size > 0 && size <= 1e12)) throw new Error('unbounded')
        }
        if (config.numHeads % config.numKvHeads !== 0) throw new Error('heads')
      } catch (error) {
        if (!(error instanceof ModelFileError)) throw error
      }
    }),
    { numRuns: 3000 },
  )
  t.ok(numAccepted > 10)
})
