/** Everything known about a model after its files were read and checked, before a weight is touched. */
export interface ModelDescription {
  /** Last folder or file name, without extension; what clients see unless --served-model-name. */
  readonly name: string
  readonly format: 'safetensors' | 'gguf'
  readonly config: ModelConfig
  /** Tensor data lives in these files; TensorRef.file is an index here. Absolute paths. */
  readonly files: readonly ModelFile[]
  readonly tensors: readonly TensorRef[]
  readonly text: TextAssets
  readonly generation: GenerationDefaults
  /** SHA-256 over the headers and configs, hex: front and core compare it at the handshake. */
  readonly digest: string
}

export interface ModelFile {
  readonly path: string
  readonly byteLength: number
}

/** The sizes of a model of the Llama family. */
export interface ModelConfig {
  readonly architecture: 'llama' | 'qwen2' | 'qwen3'
  readonly numLayers: number
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly numHeads: number
  readonly numKvHeads: number
  readonly headDim: number
  /** Rows of the embedding and width of the logits. */
  readonly vocabSize: number
  readonly maxContextLen: number
  readonly rmsNormEpsilon: number
  readonly ropeTheta: number
  /** Llama 3's scaling as config.json states it; GGUF brings the tensor rope_freqs.weight instead. */
  readonly ropeScaling: RopeScaling | null
  readonly hasQkvBias: boolean
  readonly hasQkNorm: boolean
  readonly hasTiedEmbeddings: boolean
}

export interface RopeScaling {
  readonly kind: 'llama3'
  readonly factor: number
  readonly lowFrequencyFactor: number
  readonly highFrequencyFactor: number
  readonly originalMaxContextLen: number
}

export type WeightType = 'f32' | 'f16' | 'bf16' | 'q8_0' | 'q4_0' | 'q4_1' | 'q6_k'

/**
 * One weight in a file. Names are GGUF's for both formats: token_embd.weight, output_norm.weight,
 * output.weight (absent when tied), rope_freqs.weight, and per layer N blk.N.{attn_norm, attn_q,
 * attn_k, attn_v, attn_output, ffn_norm, ffn_gate, ffn_up, ffn_down, attn_q_norm, attn_k_norm}.weight
 * and blk.N.{attn_q, attn_k, attn_v}.bias.
 */
export interface TensorRef {
  readonly name: string
  readonly type: WeightType
  /** Row-major, outermost first: [out, in] for a linear, [size] for a vector. */
  readonly shape: readonly number[]
  readonly file: number
  /** Bytes from the start of the file. */
  readonly offset: number
  readonly byteLength: number
  /**
   * Heads whose rows are stored interleaved (GGUF llama files: attn_q, attn_k); 0 when rows are in
   * order. Within a head of d rows, stored row 2j is true row j and stored row 2j+1 is j + d/2.
   */
  readonly numInterleavedHeads: number
}

/** What engine/text needs: plain data, safe to send to a worker thread. */
export interface TextAssets {
  /** A tokenizer.json as an object (made from GGUF's metadata for GGUF files). */
  readonly tokenizer: Record<string, unknown>
  /** tokenizer_config.json, or the same keys made from GGUF's metadata. */
  readonly tokenizerConfig: Record<string, unknown>
  /** Jinja source; null when the model has none. */
  readonly chatTemplate: string | null
  readonly bosToken: string | null
  readonly eosToken: string | null
}

/** generation_config.json, or what GGUF says of it. */
export interface GenerationDefaults {
  /** Tokens that end a sequence; at least one. */
  readonly eosTokenIds: readonly number[]
  readonly temperature?: number
  readonly topP?: number
  readonly topK?: number
  readonly minP?: number
  readonly repetitionPenalty?: number
}

/** A file that was refused: which file, which field, what value, what limit. */
export class ModelFileError extends Error {
  override readonly name = 'ModelFileError'

  constructor(path: string, field: string, message: string) {
    super(`${path}: ${field}: ${message}`)
  }
}
