import type { ByteSource } from './byte-source.js'
import { GgufCursor } from './gguf-cursor.js'
import { type GgufMetadata, readGgufMetadata } from './gguf-metadata.js'
import { placeTensors, readTensorInfos } from './gguf-tensors.js'
import type { StoredTensor } from './weight-types.js'

export const GGUF_MAGIC = 'GGUF'
const DEFAULT_ALIGNMENT = 32
const MIN_ALIGNMENT = 8
const MAX_ALIGNMENT = 65_536
/** Version 3 only added big-endian files; version 1 had other lengths and is not seen any more. */
const VERSIONS = [2, 3]

/** What a GGUF file says of itself, every size checked. No tensor data has been read. */
export interface GgufFile {
  readonly version: number
  readonly metadata: GgufMetadata
  readonly tensors: readonly StoredTensor[]
  /** Bytes from the start of the file to the first tensor's data section. */
  readonly dataStart: number
}

/**
 * Reads the header of a GGUF file (version 2 or 3).
 *
 * The file is hostile until proven otherwise: each count and length is compared with its limit and
 * with the bytes that are left before anything is allocated for it. Throws only ModelFileError.
 */
export function readGguf(source: ByteSource): GgufFile {
  const cursor = new GgufCursor(source)
  const magic = cursor.take(4, 'magic').toString('latin1')
  if (magic !== GGUF_MAGIC) {
    cursor.fail('magic', `is ${JSON.stringify(magic)}, a GGUF file starts with "${GGUF_MAGIC}"`)
  }
  const version = readVersion(cursor)
  const numTensors = cursor.size('tensor_count')
  const numKeys = cursor.size('metadata_kv_count')
  const metadata = readGgufMetadata(cursor, numKeys)
  const infos = readTensorInfos(cursor, numTensors)

  const alignment = readAlignment(metadata)
  const dataStart = Math.ceil(cursor.position / alignment) * alignment
  const tensors = placeTensors(cursor, infos, dataStart, alignment)
  return { version, metadata, tensors, dataStart }
}

function readVersion(cursor: GgufCursor): number {
  const version = cursor.uint32('version')
  if (VERSIONS.includes(version)) return version
  if (version !== 0 && version % 65_536 === 0) {
    cursor.fail('version', 'is stored big-endian; only little-endian files are supported')
  }
  cursor.fail('version', `is ${version}, supported are ${VERSIONS.join(' and ')}`)
}

function readAlignment(metadata: GgufMetadata): number {
  const alignment = metadata.integer('general.alignment') ?? DEFAULT_ALIGNMENT
  const isPowerOfTwo = Number.isInteger(Math.log2(alignment))
  if (alignment < MIN_ALIGNMENT || alignment > MAX_ALIGNMENT || !isPowerOfTwo) {
    metadata.fail(
      'general.alignment',
      `is ${alignment}, allowed are powers of two from ${MIN_ALIGNMENT} to ${MAX_ALIGNMENT}`,
    )
  }
  return alignment
}
