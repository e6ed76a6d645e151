import { createHash, type Hash } from 'node:crypto'
import { join } from 'node:path'
import { withFile } from './byte-source.js'
import { shown } from './config.js'
import { configFromJson, refuseCode } from './config-json.js'
import { refuseByMagic, refuseByName } from './foreign-formats.js'
import { findTokenizerEosId, generationFromJson } from './generation-defaults.js'
import { INDEX_FILE, MAX_INDEX_BYTES, WEIGHTS_FILE } from './hub-layout.js'
import {
  type GenerationDefaults,
  type ModelConfig,
  type ModelFile,
  ModelFileError,
  type TensorRef,
  type TextAssets,
} from './model-description.js'
import type { ModelFolder } from './model-folder.js'
import { readSafetensors } from './safetensors.js'
import { isJsonObject, type JsonObject, parseJsonObject } from './strict-json.js'
import { type FoundTensor, mapWeights } from './weight-map.js'

export const MAX_CONFIG_BYTES = 4 * 1024 * 1024
export const MAX_TOKENIZER_BYTES = 64 * 1024 * 1024
export const MAX_TEMPLATE_BYTES = 1024 * 1024
export const MAX_SHARDS = 1024

/** Looked for only to say why a folder without safetensors is refused. */
const PICKLED_WEIGHTS = ['pytorch_model.bin', 'pytorch_model.bin.index.json', 'model.ckpt']

export interface HubWeights {
  readonly config: ModelConfig
  readonly files: readonly ModelFile[]
  readonly tensors: readonly TensorRef[]
  readonly digest: string
}

/** config.json and the headers of the safetensors files, checked against each other. */
export function readHubWeights(folder: ModelFolder): HubWeights {
  const configBytes = folder.readBytes('config.json', MAX_CONFIG_BYTES)
  if (configBytes === undefined) {
    throw new ModelFileError(folder.path, 'config.json', 'is missing from the folder')
  }
  const configPath = join(folder.path, 'config.json')
  const config = configFromJson(configPath, parseJsonObject(configBytes, configPath, 'file'))
  const hash = createHash('sha256').update(configBytes)
  const { files, found } = readShards(folder, hash)
  const tensors = mapWeights(folder.path, 'safetensors', config, found)
  return { config, files, tensors, digest: hash.digest('hex') }
}

function readShards(folder: ModelFolder, hash: Hash): { files: ModelFile[]; found: FoundTensor[] } {
  const fileOfTensor = readIndex(folder)
  const names = fileOfTensor ? [...new Set(fileOfTensor.values())].sort() : [WEIGHTS_FILE]
  const files: ModelFile[] = []
  const found: FoundTensor[] = []
  for (const [file, name] of names.entries()) {
    const path = folder.require(name)
    withFile(path, (source) => {
      refuseByMagic(source)
      const { tensors, headerBytes } = readSafetensors(source)
      hash.update(headerBytes)
      files.push({ path, byteLength: source.byteLength })
      for (const tensor of tensors) {
        checkShard(join(folder.path, name), tensor.name, name, fileOfTensor)
        found.push({ ...tensor, file })
      }
    })
  }
  if (fileOfTensor !== null && found.length !== fileOfTensor.size) {
    const message = `lists ${fileOfTensor.size} tensors, the files hold ${found.length}`
    throw new ModelFileError(join(folder.path, INDEX_FILE), 'weight_map', message)
  }
  return { files, found }
}

/** A tensor of a sharded model lies in the file that the index names, so it occurs once. */
function checkShard(
  path: string,
  tensor: string,
  file: string,
  fileOfTensor: ReadonlyMap<string, string> | null,
): void {
  if (fileOfTensor === null || fileOfTensor.get(tensor) === file) return
  const message = `is in this file, but ${INDEX_FILE} says ${shown(fileOfTensor.get(tensor))}`
  throw new ModelFileError(path, `tensor ${JSON.stringify(tensor)}`, message)
}

/** Which file holds which tensor, or null for a model in one file. */
function readIndex(folder: ModelFolder): Map<string, string> | null {
  if (folder.find(WEIGHTS_FILE) !== undefined) return null
  const index = folder.readJson(INDEX_FILE, MAX_INDEX_BYTES)
  if (index === undefined) refuseWithoutWeights(folder)
  const path = join(folder.path, INDEX_FILE)
  const { weight_map: weightMap } = index
  if (!isJsonObject(weightMap)) {
    throw new ModelFileError(path, 'weight_map', `is ${shown(weightMap)}, expected is an object`)
  }
  const fileOfTensor = new Map<string, string>()
  for (const [tensor, file] of Object.entries(weightMap)) {
    if (typeof file !== 'string') {
      throw new ModelFileError(path, 'weight_map', `has ${shown(file)} where a file name belongs`)
    }
    refuseByName(file)
    if (!file.endsWith('.safetensors')) {
      throw new ModelFileError(path, 'weight_map', `names ${shown(file)}, no .safetensors file`)
    }
    fileOfTensor.set(tensor, file)
  }
  const numShards = new Set(fileOfTensor.values()).size
  if (numShards < 1 || numShards > MAX_SHARDS) {
    const message = `names ${numShards} files, allowed are 1 to ${MAX_SHARDS}`
    throw new ModelFileError(path, 'weight_map', message)
  }
  return fileOfTensor
}

function refuseWithoutWeights(folder: ModelFolder): never {
  for (const name of PICKLED_WEIGHTS) {
    if (folder.find(name) === undefined) continue
    const message =
      'is a PyTorch pickle, which is never opened. Only safetensors and GGUF files are read: ' +
      'fetch the model in one of these'
    throw new ModelFileError(folder.path, name, message)
  }
  throw new ModelFileError(folder.path, WEIGHTS_FILE, `is missing, and so is ${INDEX_FILE}`)
}

/** The tokenizer, the template and the generation defaults, checked against the logits' width. */
export function readHubText(
  folder: ModelFolder,
  vocabSize: number,
): { text: TextAssets; generation: GenerationDefaults } {
  const tokenizerPath = join(folder.path, 'tokenizer.json')
  const tokenizer = folder.readJson('tokenizer.json', MAX_TOKENIZER_BYTES)
  if (tokenizer === undefined) {
    throw new ModelFileError(folder.path, 'tokenizer.json', 'is missing from the folder')
  }
  checkVocabulary(tokenizerPath, tokenizer, vocabSize)
  const tokenizerConfig = folder.readJson('tokenizer_config.json', MAX_CONFIG_BYTES) ?? {}
  refuseCode(join(folder.path, 'tokenizer_config.json'), tokenizerConfig)

  const text: TextAssets = {
    tokenizer,
    tokenizerConfig,
    chatTemplate: readTemplate(folder, tokenizerConfig),
    bosToken: tokenText(tokenizerConfig.bos_token),
    eosToken: tokenText(tokenizerConfig.eos_token),
  }
  const generation = generationFromJson(
    join(folder.path, 'generation_config.json'),
    {
      generation: folder.readJson('generation_config.json', MAX_CONFIG_BYTES) ?? {},
      config: folder.readJson('config.json', MAX_CONFIG_BYTES) ?? {},
      tokenizerEosId: findTokenizerEosId(tokenizer, text.eosToken),
    },
    vocabSize,
  )
  return { text, generation }
}

/** No token may have an id that the logits, or the embedding, do not reach. */
function checkVocabulary(path: string, tokenizer: JsonObject, vocabSize: number): void {
  const model = isJsonObject(tokenizer.model) ? tokenizer.model : {}
  if (!isJsonObject(model.vocab)) {
    throw new ModelFileError(path, 'model.vocab', 'is not an object of tokens')
  }
  for (const [token, id] of Object.entries(model.vocab)) {
    checkTokenId(path, `model.vocab ${shown(token)}`, id, vocabSize)
  }
  const added = tokenizer.added_tokens ?? []
  if (!Array.isArray(added)) {
    throw new ModelFileError(path, 'added_tokens', `is ${shown(added)}, expected is a list`)
  }
  for (const [i, token] of added.entries()) {
    if (!isJsonObject(token) || typeof token.content !== 'string') {
      throw new ModelFileError(path, `added_tokens[${i}]`, 'is not a token with its content')
    }
    checkTokenId(path, `added_tokens ${shown(token.content)}`, token.id, vocabSize)
  }
}

function checkTokenId(path: string, field: string, id: unknown, vocabSize: number): void {
  if (Number.isSafeInteger(id) && (id as number) >= 0 && (id as number) < vocabSize) return
  const message = `has id ${shown(id)}, the model's vocabulary goes from 0 to ${vocabSize - 1}`
  throw new ModelFileError(path, field, message)
}

/** chat_template.jinja if there is one; else what tokenizer_config.json holds, by itself or named. */
function readTemplate(folder: ModelFolder, tokenizerConfig: JsonObject): string | null {
  const file = folder.readBytes('chat_template.jinja', MAX_TEMPLATE_BYTES)
  if (file !== undefined) return file.toString('utf8')
  const { chat_template: template } = tokenizerConfig
  if (typeof template === 'string') return checkTemplate(folder, template)
  if (!Array.isArray(template)) return null
  const named = template.find((entry) => isJsonObject(entry) && entry.name === 'default')
  return typeof named?.template === 'string' ? checkTemplate(folder, named.template) : null
}

function checkTemplate(folder: ModelFolder, template: string): string {
  if (template.length <= MAX_TEMPLATE_BYTES) return template
  const message = `has ${template.length} characters, the limit is ${MAX_TEMPLATE_BYTES}`
  throw new ModelFileError(join(folder.path, 'tokenizer_config.json'), 'chat_template', message)
}

/** A special token in tokenizer_config.json: its text, or an object around it. */
function tokenText(token: unknown): string | null {
  if (typeof token === 'string') return token
  return isJsonObject(token) && typeof token.content === 'string' ? token.content : null
}
