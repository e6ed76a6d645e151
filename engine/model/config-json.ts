import {
  CONFIG_RANGES,
  checkConfig,
  checkInteger,
  checkNumber,
  type Range,
  shown,
} from './config.js'
import { type ModelConfig, ModelFileError, type RopeScaling } from './model-description.js'
import { isJsonObject, type JsonObject } from './strict-json.js'

type Architecture = ModelConfig['architecture']

const ARCHITECTURES: ReadonlyMap<unknown, Architecture> = new Map([
  ['LlamaForCausalLM', 'llama'],
  ['Qwen2ForCausalLM', 'qwen2'],
  ['Qwen3ForCausalLM', 'qwen3'],
])

/** What a config.json of each architecture means when it leaves rope_theta or head_dim out. */
const DEFAULT_ROPE_THETA = 10_000
const DEFAULT_RMS_NORM_EPSILON = 1e-6
const QWEN3_DEFAULT_HEAD_DIM = 128

/**
 * The sizes in a config.json. Whatever would change the model's mathematics and is not built
 * (sliding windows, other rope scalings, quantised checkpoints, biases elsewhere) is refused by
 * name, never ignored. Throws only ModelFileError.
 */
export function configFromJson(path: string, json: JsonObject): ModelConfig {
  const architecture = readArchitecture(path, json)
  refuseUnsupported(path, json, architecture)

  const integer = (key: string, range: Range, fallback?: number): number =>
    checkInteger(path, key, json[key] ?? fallback, range)
  const numLayers = integer('num_hidden_layers', CONFIG_RANGES.numLayers)
  const hiddenSize = integer('hidden_size', CONFIG_RANGES.hiddenSize)
  const numHeads = integer('num_attention_heads', CONFIG_RANGES.numHeads)
  const defaultHeadDim = architecture === 'qwen3' ? QWEN3_DEFAULT_HEAD_DIM : hiddenSize / numHeads
  refuseSlidingWindow(path, json, architecture, numLayers)

  return checkConfig(path, {
    architecture,
    numLayers,
    hiddenSize,
    intermediateSize: integer('intermediate_size', CONFIG_RANGES.intermediateSize),
    numHeads,
    numKvHeads: integer('num_key_value_heads', CONFIG_RANGES.numKvHeads, numHeads),
    headDim: integer('head_dim', CONFIG_RANGES.headDim, defaultHeadDim),
    vocabSize: integer('vocab_size', CONFIG_RANGES.vocabSize),
    maxContextLen: integer('max_position_embeddings', CONFIG_RANGES.maxContextLen),
    rmsNormEpsilon: checkNumber(
      path,
      'rms_norm_eps',
      json.rms_norm_eps ?? DEFAULT_RMS_NORM_EPSILON,
      CONFIG_RANGES.rmsNormEpsilon,
    ),
    ...readRope(path, json),
    hasQkvBias: architecture === 'qwen2',
    hasQkNorm: architecture === 'qwen3',
    hasTiedEmbeddings: readBoolean(path, json, 'tie_word_embeddings') ?? false,
  })
}

function readArchitecture(path: string, json: JsonObject): Architecture {
  const { architectures } = json
  const name = Array.isArray(architectures) && architectures.length === 1 ? architectures[0] : null
  const architecture = ARCHITECTURES.get(name)
  if (architecture !== undefined) return architecture
  const supported = [...ARCHITECTURES.keys()].join(', ')
  const message = `is ${shown(architectures)}; supported are ${supported}`
  throw new ModelFileError(path, 'architectures', message)
}

function refuseUnsupported(path: string, json: JsonObject, architecture: Architecture): void {
  refuseCode(path, json)
  for (const key of ['quantization_config', 'compression_config']) {
    const quantization = json[key]
    if (quantization === undefined || quantization === null) continue
    const method = isJsonObject(quantization) ? quantization.quant_method : quantization
    throw new ModelFileError(
      path,
      key,
      `says the weights are quantised by ${shown(method)}, which is not supported. ` +
        'Use the original checkpoint, or a GGUF file',
    )
  }
  const activation = json.hidden_act ?? 'silu'
  if (activation !== 'silu') {
    throw new ModelFileError(path, 'hidden_act', `is ${shown(activation)}; supported is "silu"`)
  }
  // Qwen 2 has its biases on q, k and v alone and states no attention_bias of its own.
  const biases = architecture === 'qwen2' ? ['mlp_bias'] : ['attention_bias', 'mlp_bias']
  for (const key of biases) {
    if (readBoolean(path, json, key) === true) {
      throw new ModelFileError(path, key, `is true, which is not supported for ${architecture}`)
    }
  }
  for (const key of ['use_mrope', 'rope_interleaved']) {
    if (readBoolean(path, json, key) === true) {
      throw new ModelFileError(path, key, 'is true, which is not supported')
    }
  }
}

/** Code that a model folder names is never run, so a model that needs it is refused. */
export function refuseCode(path: string, json: JsonObject): void {
  if (json.auto_map === undefined || json.auto_map === null) return
  const message =
    'names Python code that comes with the model. No code of a model is ever run here: ' +
    'use a model that needs none'
  throw new ModelFileError(path, 'auto_map', message)
}

function refuseSlidingWindow(
  path: string,
  json: JsonObject,
  architecture: Architecture,
  numLayers: number,
): void {
  const { layer_types: layerTypes } = json
  if (layerTypes !== undefined && layerTypes !== null) {
    const isFull = Array.isArray(layerTypes) && layerTypes.every((t) => t === 'full_attention')
    if (!isFull) {
      const message = `is ${shown(layerTypes)}; supported is "full_attention" in all layers`
      throw new ModelFileError(path, 'layer_types', message)
    }
    return
  }
  // Qwen configs carry a window that is switched off; Llama's classes never read one.
  if (architecture === 'llama') return
  if (readBoolean(path, json, 'use_sliding_window') !== true) return
  const { sliding_window: window, max_window_layers: firstLayer } = json
  if (window === null || (typeof firstLayer === 'number' && firstLayer >= numLayers)) return
  const message = `is true with a window of ${shown(window)}: sliding windows are not supported`
  throw new ModelFileError(path, 'use_sliding_window', message)
}

/** rope_parameters is the newer spelling of rope_theta and rope_scaling together. */
function readRope(path: string, json: JsonObject): Pick<ModelConfig, 'ropeTheta' | 'ropeScaling'> {
  const field = isPresent(json.rope_parameters) ? 'rope_parameters' : 'rope_scaling'
  const scaling = json[field] ?? {}
  if (!isJsonObject(scaling)) {
    throw new ModelFileError(path, field, `is ${shown(scaling)}, expected is an object or null`)
  }
  const ropeTheta = checkNumber(
    path,
    'rope_theta',
    scaling.rope_theta ?? json.rope_theta ?? DEFAULT_ROPE_THETA,
    CONFIG_RANGES.ropeTheta,
  )
  const partial = scaling.partial_rotary_factor ?? json.partial_rotary_factor ?? 1
  if (partial !== 1) {
    throw new ModelFileError(path, 'partial_rotary_factor', `is ${shown(partial)}; supported is 1`)
  }
  const kind = scaling.rope_type ?? scaling.type ?? 'default'
  if (kind === 'default') return { ropeTheta, ropeScaling: null }
  if (kind === 'llama3') return { ropeTheta, ropeScaling: readLlama3(path, field, scaling) }
  const message = `is ${shown(kind)}; supported are "default" and "llama3"`
  throw new ModelFileError(path, `${field}.rope_type`, message)
}

function readLlama3(path: string, field: string, scaling: JsonObject): RopeScaling {
  const factor = (key: string): number =>
    checkNumber(path, `${field}.${key}`, scaling[key], CONFIG_RANGES.ropeFactor)
  const result: RopeScaling = {
    kind: 'llama3',
    factor: factor('factor'),
    lowFrequencyFactor: factor('low_freq_factor'),
    highFrequencyFactor: factor('high_freq_factor'),
    originalMaxContextLen: checkInteger(
      path,
      `${field}.original_max_position_embeddings`,
      scaling.original_max_position_embeddings,
      CONFIG_RANGES.maxContextLen,
    ),
  }
  // Between the two factors the scaling is interpolated: their difference is a divisor.
  if (result.highFrequencyFactor <= result.lowFrequencyFactor) {
    const message = `is ${result.highFrequencyFactor}, which must be above low_freq_factor`
    throw new ModelFileError(path, `${field}.high_freq_factor`, message)
  }
  return result
}

function readBoolean(path: string, json: JsonObject, key: string): boolean | undefined {
  const value = json[key]
  if (!isPresent(value)) return undefined
  if (typeof value === 'boolean') return value
  throw new ModelFileError(path, key, `is ${shown(value)}, expected is true or false`)
}

function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null
}
