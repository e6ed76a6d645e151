import { createHash } from 'node:crypto'
import { readdirSync, realpathSync, type Stats, statSync } from 'node:fs'
import { basename, dirname, extname, resolve } from 'node:path'
import { type ByteSource, withFile } from './byte-source.js'
import { configFromGguf } from './config-gguf.js'
import { detectFormat, refuseByName } from './foreign-formats.js'
import { generationFromGguf } from './generation-defaults.js'
import { readGguf } from './gguf.js'
import type { GgufMetadata } from './gguf-metadata.js'
import { readHubText, readHubWeights } from './hub-folder.js'
import { type ModelDescription, ModelFileError, type TextAssets } from './model-description.js'
import { ModelFolder } from './model-folder.js'
import { mapWeights } from './weight-map.js'

/** The part of a description that the core needs: sizes and tensors, no text. */
export type ModelWeights = Omit<ModelDescription, 'text' | 'generation'>

export interface OpenModelOptions {
  /**
   * Makes a tokenizer of a GGUF file's metadata. It comes in from outside (engine/text has it)
   * because the core, which knows no text, reads weights with this module, too.
   */
  readonly tokenizerFromGguf: (metadata: GgufMetadata) => TextAssets
}

/**
 * Reads and cross-checks everything about the model at `path`: a folder in the hub's layout, a
 * folder with one GGUF file, or a GGUF file. Config, tensor shapes, tokenizer and the width of the
 * logits agree afterwards; no weight has been read.
 *
 * Rejects with ModelFileError: file, field, value, limit.
 */
export async function openModel(
  path: string,
  options: OpenModelOptions,
): Promise<ModelDescription> {
  const place = locate(path)
  if (place.format === 'gguf') {
    return withFile(place.path, (source) => {
      const { weights, metadata } = readGgufWeights(source, place.name)
      const { vocabSize } = weights.config
      checkGgufVocabulary(metadata, vocabSize)
      const generation = generationFromGguf(metadata, vocabSize)
      return { ...weights, text: options.tokenizerFromGguf(metadata), generation }
    })
  }
  const folder = new ModelFolder(place.path)
  const weights = readHubWeights(folder)
  const text = readHubText(folder, weights.config.vocabSize)
  return { name: place.name, format: 'safetensors', ...weights, ...text }
}

/** As openModel, without tokenizer, template and generation defaults. The digests agree. */
export async function openWeights(path: string): Promise<ModelWeights> {
  const place = locate(path)
  if (place.format === 'gguf') {
    return withFile(place.path, (source) => readGgufWeights(source, place.name).weights)
  }
  const weights = readHubWeights(new ModelFolder(place.path))
  return { name: place.name, format: 'safetensors', ...weights }
}

function readGgufWeights(
  source: ByteSource,
  name: string,
): { weights: ModelWeights; metadata: GgufMetadata } {
  const file = readGguf(source)
  const { path, byteLength } = source
  const config = configFromGguf(file)
  const found = file.tensors.map((tensor) => ({ ...tensor, file: 0 }))
  const tensors = mapWeights(path, 'gguf', config, found)
  const digest = createHash('sha256').update(source.read(0, file.dataStart)).digest('hex')
  const files = [{ path, byteLength }]
  return {
    weights: { name, format: 'gguf', config, files, tensors, digest },
    metadata: file.metadata,
  }
}

function checkGgufVocabulary(metadata: GgufMetadata, vocabSize: number): void {
  const key = 'tokenizer.ggml.tokens'
  const numTokens = metadata.requireStrings(key).length
  if (numTokens >= 1 && numTokens <= vocabSize) return
  metadata.fail(key, `has ${numTokens} tokens, allowed are 1 to the logits' width, ${vocabSize}`)
}

interface Place {
  readonly format: ModelDescription['format']
  readonly path: string
  readonly name: string
}

/** What stands at a path: a GGUF file (also alone in a folder) or a folder in the hub's layout. */
function locate(path: string): Place {
  const absolute = resolve(path)
  const stat = statOrUndefined(absolute)
  if (stat === undefined) {
    throw new ModelFileError(path, 'path', 'does not exist, or may not be read by this user')
  }
  if (stat.isDirectory()) return locateInFolder(absolute)
  refuseByName(absolute)
  // The operator may name a link; what it leads to is what is opened.
  const realPath = realpathSync(absolute)
  if (!stat.isFile()) throw new ModelFileError(path, 'path', 'is neither a folder nor a file')
  if (detectFormat(realPath) !== 'gguf') {
    const message = 'is no GGUF file. Give a .gguf file, or the folder of a safetensors model'
    throw new ModelFileError(path, 'magic', message)
  }
  return { format: 'gguf', path: realPath, name: basename(absolute, extname(absolute)) }
}

function locateInFolder(path: string): Place {
  const names = readdirSync(path)
  const ggufNames = names.filter((name) => name.endsWith('.gguf'))
  if (names.includes('config.json') || ggufNames.length === 0) {
    return { format: 'safetensors', path, name: folderName(path) }
  }
  const [name] = ggufNames
  if (name === undefined || ggufNames.length > 1) {
    const list = ggufNames.slice(0, 10).join(', ')
    throw new ModelFileError(path, 'folder', `holds several GGUF files; name one of ${list}`)
  }
  const file = new ModelFolder(path).require(name)
  return { format: 'gguf', path: file, name: basename(name, '.gguf') }
}

/** A snapshot in the hub's cache is named after its repository, not after its commit. */
function folderName(path: string): string {
  const parent = dirname(path)
  const repository = basename(dirname(parent))
  const isSnapshot = basename(parent) === 'snapshots' && repository.startsWith('models--')
  return isSnapshot ? (repository.split('--').at(-1) ?? repository) : basename(path)
}

function statOrUndefined(path: string): Stats | undefined {
  try {
    return statSync(path)
  } catch {
    return undefined
  }
}
