/**
 * Writes test/fixtures/models/native-specs.txt: what the C++ programs need to load the tiny models
 * without a JSON reader, and the answers they are held to. A line is a word and its values:
 *
 *   model NAME | file PATH BYTES | tensor NAME TYPE INTERLEAVED FILE OFFSET BYTES SHAPE...
 *   config LAYERS HIDDEN INTERMEDIATE HEADS KV_HEADS HEAD_DIM VOCAB CONTEXT EPSILON THETA
 *          BIAS QK_NORM TIED | scaling FACTOR LOW HIGH ORIGINAL | prompt IDS... | answer IDS...
 *
 * Run it from the project's root after make_models.py: node dist/test/native/support/write-native-specs.js
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import process from 'node:process'
import type { ModelConfig } from '../../../engine/model/model-description.js'
import { type ModelWeights, openWeights } from '../../../engine/model/open-model.js'

interface Goldens {
  readonly promptTokenIds: readonly (readonly number[])[]
  readonly answers: Readonly<Record<string, readonly { readonly ids: readonly number[] }[]>>
}

const root = 'test/fixtures/models'
const folders = ['f32', 'bf16']
const quantised = ['f16', 'q8_0', 'q4_0', 'q4_1']

function configLine(config: ModelConfig): string[] {
  const { numLayers, hiddenSize, intermediateSize, numHeads, numKvHeads, headDim } = config
  const sizes = [numLayers, hiddenSize, intermediateSize, numHeads, numKvHeads, headDim]
  const { vocabSize, maxContextLen, rmsNormEpsilon, ropeTheta, ropeScaling } = config
  const flags = [config.hasQkvBias, config.hasQkNorm, config.hasTiedEmbeddings].map(Number)
  const numbers = [...sizes, vocabSize, maxContextLen, rmsNormEpsilon, ropeTheta, ...flags]
  const lines = [`config ${numbers.join(' ')}`]
  if (ropeScaling !== null) {
    const { factor, lowFrequencyFactor, highFrequencyFactor, originalMaxContextLen } = ropeScaling
    const scaling = [factor, lowFrequencyFactor, highFrequencyFactor, originalMaxContextLen]
    lines.push(`scaling ${scaling.join(' ')}`)
  }
  return lines
}

function modelLines(name: string, weights: ModelWeights): string[] {
  const files = weights.files.map(
    ({ path, byteLength }) => `file ${relative(process.cwd(), path)} ${byteLength}`,
  )
  const tensors = weights.tensors.map((tensor) => {
    const { type, numInterleavedHeads, file, offset, byteLength, shape } = tensor
    const numbers = [numInterleavedHeads, file, offset, byteLength, ...shape]
    return `tensor ${tensor.name} ${type} ${numbers.join(' ')}`
  })
  return [`model ${name}`, ...configLine(weights.config), ...files, ...tensors]
}

const lines: string[] = []
for (const architecture of ['llama', 'qwen2', 'qwen3']) {
  const folder = join(root, `${architecture}-tiny`)
  const goldens = JSON.parse(readFileSync(join(folder, 'goldens.json'), 'utf8')) as Goldens
  for (const type of [...folders, ...quantised]) {
    const isFolder = folders.includes(type)
    const path = join(folder, isFolder ? type : `${architecture}-tiny-${type}.gguf`)
    lines.push(...modelLines(`${architecture}-tiny/${type}`, await openWeights(path)))
    for (const [row, ids] of goldens.promptTokenIds.entries()) {
      lines.push(`prompt ${ids.join(' ')}`, `answer ${goldens.answers[type]![row]!.ids.join(' ')}`)
    }
  }
}
writeFileSync(join(root, 'native-specs.txt'), `${lines.join('\n')}\n`)
