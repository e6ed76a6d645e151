import { CONFIG_RANGES, checkConfig, checkInteger, checkNumber, type Range } from './config.js'
import type { GgufFile } from './gguf.js'
import type { GgufMetadata } from './gguf-metadata.js'
import type { ModelConfig } from './model-description.js'

type Architecture = ModelConfig['architecture']

const ARCHITECTURES: readonly Architecture[] = ['llama', 'qwen2', 'qwen3']
const DEFAULT_ROPE_THETA = 10_000

/**
 * The sizes in a GGUF file's metadata. The width of the logits is the embedding's number of rows:
 * the metadata may leave it out or count only the tokens in use. Throws only ModelFileError.
 */
export function configFromGguf(file: GgufFile): ModelConfig {
  const { metadata } = file
  const { path } = metadata
  const architecture = readArchitecture(metadata)
  const key = (name: string): string => `${architecture}.${name}`
  const integer = (name: string, range: Range, fallback?: number): number =>
    checkInteger(path, key(name), metadata.integer(key(name)) ?? fallback, range)
  refuseUnsupported(metadata, key)

  const hiddenSize = integer('embedding_length', CONFIG_RANGES.hiddenSize)
  const numHeads = integer('attention.head_count', CONFIG_RANGES.numHeads)
  const headDim = integer('attention.key_length', CONFIG_RANGES.headDim, hiddenSize / numHeads)
  for (const name of ['attention.value_length', 'rope.dimension_count']) {
    const length = metadata.integer(key(name)) ?? headDim
    if (length !== headDim) {
      metadata.fail(key(name), `is ${length}; supported is the head dimension, ${headDim}`)
    }
  }
  return checkConfig(path, {
    architecture,
    numLayers: integer('block_count', CONFIG_RANGES.numLayers),
    hiddenSize,
    intermediateSize: integer('feed_forward_length', CONFIG_RANGES.intermediateSize),
    numHeads,
    numKvHeads: integer('attention.head_count_kv', CONFIG_RANGES.numKvHeads, numHeads),
    headDim,
    vocabSize: readVocabSize(file, key('vocab_size')),
    maxContextLen: integer('context_length', CONFIG_RANGES.maxContextLen),
    rmsNormEpsilon: checkNumber(
      path,
      key('attention.layer_norm_rms_epsilon'),
      metadata.number(key('attention.layer_norm_rms_epsilon')),
      CONFIG_RANGES.rmsNormEpsilon,
    ),
    ropeTheta: checkNumber(
      path,
      key('rope.freq_base'),
      metadata.number(key('rope.freq_base')) ?? DEFAULT_ROPE_THETA,
      CONFIG_RANGES.ropeTheta,
    ),
    // Llama 3's scaling comes as the tensor rope_freqs.weight.
    ropeScaling: null,
    hasQkvBias: architecture === 'qwen2',
    hasQkNorm: architecture === 'qwen3',
    hasTiedEmbeddings: !file.tensors.some((tensor) => tensor.name === 'output.weight'),
  })
}

function readArchitecture(metadata: GgufMetadata): Architecture {
  const name = metadata.requireString('general.architecture')
  const architecture = ARCHITECTURES.find((known) => known === name)
  if (architecture !== undefined) return architecture
  const given = JSON.stringify(name.slice(0, 100))
  metadata.fail('general.architecture', `is ${given}; supported are ${ARCHITECTURES.join(', ')}`)
}

function refuseUnsupported(metadata: GgufMetadata, key: (name: string) => string): void {
  const type = metadata.string('general.type') ?? 'model'
  if (type !== 'model') {
    metadata.fail('general.type', `is ${JSON.stringify(type.slice(0, 100))}; supported is "model"`)
  }
  const numShards = metadata.integer('split.count') ?? 0
  if (numShards > 1) {
    const message = `is ${numShards}: the model is split over several files. Merge them into one`
    metadata.fail('split.count', message)
  }
  for (const name of ['expert_count', 'attention.sliding_window']) {
    const value = metadata.integer(key(name)) ?? 0
    if (value !== 0) metadata.fail(key(name), `is ${value}, which is not supported`)
  }
  const scaling = metadata.string(key('rope.scaling.type')) ?? 'none'
  const factor = metadata.number(key('rope.scaling.factor')) ?? 1
  const linear = metadata.number(key('rope.scale_linear')) ?? 1
  if (scaling !== 'none' && !(scaling === 'linear' && factor === 1)) {
    const given = JSON.stringify(scaling.slice(0, 100))
    metadata.fail(key('rope.scaling.type'), `is ${given} by ${factor}, which is not supported`)
  }
  if (linear !== 1) metadata.fail(key('rope.scale_linear'), `is ${linear}; supported is 1`)
}

function readVocabSize({ metadata, tensors }: GgufFile, key: string): number {
  const embedding = tensors.find((tensor) => tensor.name === 'token_embd.weight')
  const numRows = checkInteger(
    metadata.path,
    'tensor "token_embd.weight" (rows)',
    embedding?.shape[0],
    CONFIG_RANGES.vocabSize,
  )
  const stated = metadata.integer(key) ?? numRows
  if (stated > numRows) {
    metadata.fail(key, `is ${stated}, but the embedding has ${numRows} rows`)
  }
  return numRows
}
