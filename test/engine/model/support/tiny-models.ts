import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildGguf, float32, type GgufSpec, string, type TensorSpec, uint32 } from './build-gguf.js'
import { buildSafetensors, type TensorEntry } from './build-safetensors.js'

/** The smallest model of the family: 1 layer, 1 head of 8, 8 wide, 4 tokens. */
export const TINY_TOKENS = ['a', 'b', '<|im_start|>', '<|im_end|>'] as const

const LAYER_SHAPES: Readonly<Record<string, readonly number[]>> = {
  input_layernorm: [8],
  'self_attn.q_proj': [8, 8],
  'self_attn.k_proj': [8, 8],
  'self_attn.v_proj': [8, 8],
  'self_attn.o_proj': [8, 8],
  post_attention_layernorm: [8],
  'mlp.gate_proj': [8, 8],
  'mlp.up_proj': [8, 8],
  'mlp.down_proj': [8, 8],
}

export function tinyConfig(): Record<string, unknown> {
  return {
    architectures: ['LlamaForCausalLM'],
    vocab_size: 4,
    hidden_size: 8,
    intermediate_size: 8,
    num_hidden_layers: 1,
    num_attention_heads: 1,
    num_key_value_heads: 1,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    tie_word_embeddings: true,
    eos_token_id: 3,
  }
}

export function tinyTokenizer(): Record<string, unknown> {
  return {
    version: '1.0',
    added_tokens: [
      { id: 2, content: '<|im_start|>', special: true },
      { id: 3, content: '<|im_end|>', special: true },
    ],
    model: { type: 'BPE', vocab: { a: 0, b: 1 }, merges: [] },
  }
}

export function tinyTensors(dtype = 'F32'): Record<string, TensorEntry> {
  const numBytes = dtype === 'F32' ? 4 : 2
  const entry = (shape: readonly number[]): TensorEntry => {
    const numElements = shape.reduce((product, size) => product * size, 1)
    return { dtype, shape, data: Buffer.alloc(numElements * numBytes, 1) }
  }
  const tensors: Record<string, TensorEntry> = { 'model.embed_tokens.weight': entry([4, 8]) }
  for (const [name, shape] of Object.entries(LAYER_SHAPES)) {
    tensors[`model.layers.0.${name}.weight`] = entry(shape)
  }
  tensors['model.norm.weight'] = entry([8])
  return tensors
}

/** Files of a model folder; what a test puts into `changes` takes their place (null: leave out). */
export function tinyFiles(
  changes: Readonly<Record<string, string | Buffer | null>> = {},
): Map<string, string | Buffer> {
  const files = new Map<string, string | Buffer>([
    ['config.json', JSON.stringify(tinyConfig())],
    ['generation_config.json', JSON.stringify({ eos_token_id: 3 })],
    ['tokenizer.json', JSON.stringify(tinyTokenizer())],
    ['tokenizer_config.json', JSON.stringify({ eos_token: '<|im_end|>', chat_template: 'x' })],
    ['model.safetensors', buildSafetensors(tinyTensors(), { format: 'pt' })],
  ])
  for (const [name, content] of Object.entries(changes)) {
    if (content === null) files.delete(name)
    else files.set(name, content)
  }
  return files
}

export function writeFolder(folder: string, files: ReadonlyMap<string, string | Buffer>): string {
  mkdirSync(folder, { recursive: true })
  for (const [name, content] of files) writeFileSync(join(folder, name), content)
  return folder
}

/** Metadata of the tiny model as a GGUF file has it; a test changes keys by name. */
export function tinyGguf(): GgufSpec & { metadata: [string, GgufSpec['metadata'][0][1]][] } {
  const tensor = (name: string, shape: readonly number[]): TensorSpec => {
    const numElements = shape.reduce((product, size) => product * size, 1)
    return { name, dims: [...shape].reverse(), typeId: 0, data: Buffer.alloc(numElements * 4, 1) }
  }
  return {
    metadata: [
      ['general.architecture', string('llama')],
      ['general.name', string('tiny')],
      ['llama.block_count', uint32(1)],
      ['llama.context_length', uint32(64)],
      ['llama.embedding_length', uint32(8)],
      ['llama.feed_forward_length', uint32(8)],
      ['llama.attention.head_count', uint32(1)],
      ['llama.attention.head_count_kv', uint32(1)],
      ['llama.attention.layer_norm_rms_epsilon', float32(1e-5)],
      ['llama.rope.freq_base', float32(10_000)],
      ['tokenizer.ggml.model', string('gpt2')],
      ['tokenizer.ggml.tokens', { type: 'strings', value: TINY_TOKENS }],
      ['tokenizer.ggml.token_type', { type: 'int32s', value: [1, 1, 3, 3] }],
      ['tokenizer.ggml.scores', { type: 'float32s', value: [0, 0, 0, 0] }],
      ['tokenizer.ggml.eos_token_id', uint32(3)],
      ['tokenizer.ggml.add_bos_token', { type: 'bool', value: 0 }],
    ],
    tensors: [
      tensor('token_embd.weight', [4, 8]),
      tensor('blk.0.attn_norm.weight', [8]),
      tensor('blk.0.attn_q.weight', [8, 8]),
      tensor('blk.0.attn_k.weight', [8, 8]),
      tensor('blk.0.attn_v.weight', [8, 8]),
      tensor('blk.0.attn_output.weight', [8, 8]),
      tensor('blk.0.ffn_norm.weight', [8]),
      tensor('blk.0.ffn_gate.weight', [8, 8]),
      tensor('blk.0.ffn_up.weight', [8, 8]),
      tensor('blk.0.ffn_down.weight', [8, 8]),
      tensor('output_norm.weight', [8]),
    ],
  }
}

/** The tiny GGUF with keys replaced, added or (undefined) removed. */
export function tinyGgufWith(
  changes: Readonly<Record<string, GgufSpec['metadata'][0][1] | undefined>>,
): Buffer {
  const spec = tinyGguf()
  const metadata = new Map(spec.metadata)
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) metadata.delete(key)
    else metadata.set(key, value)
  }
  return buildGguf({ ...spec, metadata: [...metadata] })
}
