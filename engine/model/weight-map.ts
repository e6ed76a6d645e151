import {
  type ModelConfig,
  type ModelDescription,
  ModelFileError,
  type TensorRef,
} from './model-description.js'
import type { StoredTensor } from './weight-types.js'

/** A tensor as found, with the index of its file. */
export interface FoundTensor extends StoredTensor {
  readonly file: number
}

/** A tensor that the forward pass reads, under GGUF's name. */
interface ExpectedTensor {
  readonly name: string
  readonly shape: readonly number[]
  /** Vectors (norms, biases) come in float types only. */
  readonly isVector: boolean
  readonly isOptional: boolean
  readonly numInterleavedHeads: number
}

/** The hub's names for what GGUF calls blk.N.X: model.layers.N.Y. */
const LAYER_NAMES: readonly (readonly [hub: string, gguf: string])[] = [
  ['input_layernorm', 'attn_norm'],
  ['self_attn.q_proj', 'attn_q'],
  ['self_attn.k_proj', 'attn_k'],
  ['self_attn.v_proj', 'attn_v'],
  ['self_attn.o_proj', 'attn_output'],
  ['self_attn.q_norm', 'attn_q_norm'],
  ['self_attn.k_norm', 'attn_k_norm'],
  ['post_attention_layernorm', 'ffn_norm'],
  ['mlp.gate_proj', 'ffn_gate'],
  ['mlp.up_proj', 'ffn_up'],
  ['mlp.down_proj', 'ffn_down'],
]

const MODEL_NAMES: readonly (readonly [hub: string, gguf: string])[] = [
  ['model.embed_tokens.weight', 'token_embd.weight'],
  ['model.norm.weight', 'output_norm.weight'],
  ['lm_head.weight', 'output.weight'],
]

/** Tables that older exports stored and that follow from the config. */
const IGNORED = [/\.rotary_emb\.inv_freq$/, /\.attn_rot_embd$/]

/**
 * Checks the tensors of a model against its config and names them the GGUF way: each that the
 * forward pass reads is there once, with the shape that the config implies, and there is no other.
 * `path` is the folder or file that an error names.
 */
export function mapWeights(
  path: string,
  format: ModelDescription['format'],
  config: ModelConfig,
  found: readonly FoundTensor[],
): TensorRef[] {
  const toOwnName = format === 'gguf' ? null : hubNames(config.numLayers)
  const byName = new Map<string, FoundTensor>()
  const unknown: string[] = []
  for (const tensor of found) {
    if (isIgnored(tensor.name, config)) continue
    const name = toOwnName === null ? tensor.name : toOwnName.get(tensor.name)
    if (name === undefined) unknown.push(tensor.name)
    else byName.set(name, tensor)
  }

  const refs: TensorRef[] = []
  const missing: string[] = []
  for (const expected of expectedTensors(config, format)) {
    const tensor = byName.get(expected.name)
    byName.delete(expected.name)
    if (tensor !== undefined) refs.push(toRef(path, expected, tensor))
    else if (!expected.isOptional) missing.push(hubSpelling(expected.name, toOwnName))
  }
  unknown.push(...[...byName.values()].map((tensor) => tensor.name))
  if (missing.length > 0) {
    throw new ModelFileError(path, 'tensors', `${listed(missing)} missing; fetch the model again`)
  }
  if (unknown.length > 0) {
    const message = `${listed(unknown)} not known for ${config.architecture} of this config`
    throw new ModelFileError(path, 'tensors', message)
  }
  return refs
}

function toRef(path: string, expected: ExpectedTensor, tensor: FoundTensor): TensorRef {
  const field = `tensor ${JSON.stringify(tensor.name)}`
  const { type, shape, file, offset, byteLength } = tensor
  if (shape.join() !== expected.shape.join()) {
    const message = `has shape [${shape.join(', ')}], the config implies [${expected.shape.join(', ')}]`
    throw new ModelFileError(path, field, message)
  }
  if (expected.isVector && !['f32', 'f16', 'bf16'].includes(type)) {
    throw new ModelFileError(path, field, `has type ${type}; norms and biases are f32, f16 or bf16`)
  }
  const { name, numInterleavedHeads } = expected
  return { name, type, shape, file, offset, byteLength, numInterleavedHeads }
}

/** Every tensor that the forward pass reads, in the order in which it reads them. */
function expectedTensors(
  config: ModelConfig,
  format: ModelDescription['format'],
): readonly ExpectedTensor[] {
  const { hiddenSize, vocabSize, headDim } = config
  const tensors = [linear('token_embd.weight', vocabSize, hiddenSize)]
  if (format === 'gguf') {
    tensors.push({ ...vector('rope_freqs.weight', headDim / 2), isOptional: true })
  }
  // GGUF converters store the q and k rows of llama models the way llama.cpp's rope wants them.
  const isInterleaved = format === 'gguf' && config.architecture === 'llama'
  for (let i = 0; i < config.numLayers; i++) {
    tensors.push(...layerTensors(config, `blk.${i}`, isInterleaved))
  }
  tensors.push(vector('output_norm.weight', hiddenSize))
  if (!config.hasTiedEmbeddings) tensors.push(linear('output.weight', vocabSize, hiddenSize))
  return tensors
}

function layerTensors(
  config: ModelConfig,
  prefix: string,
  isInterleaved: boolean,
): readonly ExpectedTensor[] {
  const { hiddenSize, intermediateSize, headDim, numHeads, numKvHeads } = config
  const qSize = numHeads * headDim
  const kvSize = numKvHeads * headDim
  const tensors = [
    vector(`${prefix}.attn_norm.weight`, hiddenSize),
    linear(`${prefix}.attn_q.weight`, qSize, hiddenSize, isInterleaved ? numHeads : 0),
    linear(`${prefix}.attn_k.weight`, kvSize, hiddenSize, isInterleaved ? numKvHeads : 0),
    linear(`${prefix}.attn_v.weight`, kvSize, hiddenSize),
  ]
  if (config.hasQkvBias) {
    tensors.push(
      vector(`${prefix}.attn_q.bias`, qSize),
      vector(`${prefix}.attn_k.bias`, kvSize),
      vector(`${prefix}.attn_v.bias`, kvSize),
    )
  }
  if (config.hasQkNorm) {
    tensors.push(
      vector(`${prefix}.attn_q_norm.weight`, headDim),
      vector(`${prefix}.attn_k_norm.weight`, headDim),
    )
  }
  tensors.push(
    linear(`${prefix}.attn_output.weight`, hiddenSize, qSize),
    vector(`${prefix}.ffn_norm.weight`, hiddenSize),
    linear(`${prefix}.ffn_gate.weight`, intermediateSize, hiddenSize),
    linear(`${prefix}.ffn_up.weight`, intermediateSize, hiddenSize),
    linear(`${prefix}.ffn_down.weight`, hiddenSize, intermediateSize),
  )
  return tensors
}

function linear(name: string, out: number, into: number, interleaved = 0): ExpectedTensor {
  const shape = [out, into]
  return { name, shape, isVector: false, isOptional: false, numInterleavedHeads: interleaved }
}

function vector(name: string, size: number): ExpectedTensor {
  return { name, shape: [size], isVector: true, isOptional: false, numInterleavedHeads: 0 }
}

function hubNames(numLayers: number): Map<string, string> {
  const names = new Map<string, string>(MODEL_NAMES)
  for (let i = 0; i < numLayers; i++) {
    for (const [hub, gguf] of LAYER_NAMES) {
      for (const part of ['weight', 'bias']) {
        names.set(`model.layers.${i}.${hub}.${part}`, `blk.${i}.${gguf}.${part}`)
      }
    }
  }
  return names
}

/** The name that a user finds in the hub's files, for messages. */
function hubSpelling(name: string, toOwnName: Map<string, string> | null): string {
  for (const [hub, own] of toOwnName ?? []) if (own === name) return hub
  return name
}

/** A tied model's own output matrix is a copy of its embedding, which transformers drops too. */
function isIgnored(name: string, config: ModelConfig): boolean {
  if (name === 'lm_head.weight' && config.hasTiedEmbeddings) return true
  return IGNORED.some((pattern) => pattern.test(name))
}

function listed(names: readonly string[]): string {
  const first = names.slice(0, 5).map((name) => JSON.stringify(name.slice(0, 100)))
  const rest = names.length > 5 ? ` and ${names.length - 5} more` : ''
  return `${first.join(', ')}${rest} ${names.length === 1 ? 'is' : 'are'}`
}
