import t from 'tap'
import { configFromJson } from '../../../engine/model/config-json.js'
import { type ModelConfig, ModelFileError } from '../../../engine/model/model-description.js'
import { type FoundTensor, mapWeights } from '../../../engine/model/weight-map.js'
import { tinyConfig, tinyGguf, tinyTensors } from './support/tiny-models.js'

const CONFIG = configFromJson('config.json', tinyConfig())

function found(name: string, shape: readonly number[], change: object = {}): FoundTensor {
  const byteLength = shape.reduce((product, size) => product * size, 4)
  return { name, type: 'f32', shape, file: 0, offset: 0, byteLength, ...change }
}

const hub = (): FoundTensor[] =>
  Object.entries(tinyTensors()).map(([name, { shape }]) => found(name, shape))

const gguf = (): FoundTensor[] =>
  tinyGguf().tensors.map(({ name, dims }) => found(name, [...dims].reverse().map(Number)))

const map = (tensors: FoundTensor[], config: ModelConfig = CONFIG) =>
  mapWeights('model', 'safetensors', config, tensors)

t.test('both formats give the same names, in the order of the forward pass', async (t) => {
  const names = map(hub()).map(({ name }) => name)
  t.same(
    names,
    mapWeights('model', 'gguf', CONFIG, gguf()).map(({ name }) => name),
  )
  t.equal(names[0], 'token_embd.weight')
  t.equal(names.at(-1), 'output_norm.weight')
  t.equal(names.length, 11)
  t.same(
    names,
    map(hub().reverse()).map(({ name }) => name),
  )
})

t.test('only q and k of GGUF llama files are stored interleaved', async (t) => {
  const config = { ...CONFIG, numHeads: 2, numKvHeads: 1, headDim: 8 }
  const shapes: Record<string, number[]> = {
    'blk.0.attn_q.weight': [16, 8],
    'blk.0.attn_output.weight': [8, 16],
  }
  const tensors = gguf().map((tensor) => found(tensor.name, shapes[tensor.name] ?? tensor.shape))
  const byName = new Map(
    mapWeights('model', 'gguf', config, tensors).map((ref) => [ref.name, ref.numInterleavedHeads]),
  )
  t.equal(byName.get('blk.0.attn_q.weight'), 2)
  t.equal(byName.get('blk.0.attn_k.weight'), 1)
  byName.delete('blk.0.attn_q.weight')
  byName.delete('blk.0.attn_k.weight')
  t.ok([...byName.values()].every((numHeads) => numHeads === 0))
  t.ok(map(hub()).every((ref) => ref.numInterleavedHeads === 0))
})

t.test('qwen brings biases or norms, and its rows are in order', async (t) => {
  const qwen2 = { ...CONFIG, architecture: 'qwen2', hasQkvBias: true } as const
  const biases = ['q', 'k', 'v'].map((p) => found(`model.layers.0.self_attn.${p}_proj.bias`, [8]))
  t.equal(map([...hub(), ...biases], qwen2).length, 14)
  t.throws(() => map(hub(), qwen2), /"model.layers.0.self_attn.q_proj.bias", .* are missing/)

  const qwen3 = { ...CONFIG, architecture: 'qwen3', hasQkNorm: true } as const
  const norms = ['q', 'k'].map((p) => found(`blk.0.attn_${p}_norm.weight`, [8]))
  const refs = mapWeights('model', 'gguf', qwen3, [...gguf(), ...norms])
  t.equal(refs.length, 13)
  t.ok(refs.every((ref) => ref.numInterleavedHeads === 0))
})

t.test(
  'extra tensors are dropped where they are copies or tables, refused elsewhere',
  async (t) => {
    const head = found('lm_head.weight', [4, 8])
    const table = found('model.layers.0.self_attn.rotary_emb.inv_freq', [4])
    t.equal(map([...hub(), head, table]).length, 11)
    const untied = { ...CONFIG, hasTiedEmbeddings: false }
    t.equal(map([...hub(), head], untied).at(-1)?.name, 'output.weight')
    t.throws(() => map(hub(), untied), /"lm_head.weight" is missing; fetch the model again/)
    t.throws(() => map([...hub(), found('x', [1])]), /"x" is not known for llama/)
    const second = found('model.layers.1.mlp.up_proj.weight', [8, 8])
    t.throws(() => map([...hub(), second]), /"model.layers.1.mlp.up_proj.weight" is not known/)
    const bias = found('model.layers.0.self_attn.q_proj.bias', [8])
    t.throws(() => map([...hub(), bias]), /q_proj.bias" is not known for llama/)
  },
)

t.test('the factors of Llama 3 may come as a tensor in GGUF only', async (t) => {
  const factors = found('rope_freqs.weight', [4])
  const refs = mapWeights('model', 'gguf', CONFIG, [...gguf(), factors])
  t.equal(refs[1]?.name, 'rope_freqs.weight')
  t.throws(() => map([...hub(), factors]), /not known/)
  const wrong = found('rope_freqs.weight', [8])
  t.throws(
    () => mapWeights('model', 'gguf', CONFIG, [...gguf(), wrong]),
    /the config implies \[4\]/,
  )
})

t.test('each tensor that is missing, of another shape or of a wrong type is refused', async (t) => {
  for (const tensor of hub()) {
    const others = hub().filter(({ name }) => name !== tensor.name)
    t.throws(() => map(others), new RegExp(`"${tensor.name}" is missing`))
    const wider = [...tensor.shape.slice(0, -1), 16]
    t.throws(() => map([...others, found(tensor.name, wider)]), /the config implies/)
    const deeper = [1, ...tensor.shape]
    t.throws(() => map([...others, found(tensor.name, deeper)]), ModelFileError)
  }
  const norm = found('model.norm.weight', [8], { type: 'q8_0' })
  const others = hub().filter(({ name }) => name !== norm.name)
  t.throws(() => map([...others, norm]), /has type q8_0; norms and biases/)
})
