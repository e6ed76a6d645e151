import { type ByteSource, endsEarly } from './byte-source.js'
import { ModelFileError, type WeightType } from './model-description.js'
import { isJsonObject, type JsonObject, parseJsonObject } from './strict-json.js'
import { MAX_TENSORS, type StoredTensor, tensorByteLength, WEIGHT_LAYOUTS } from './weight-types.js'

/** The format allows 100 MB; the largest models in use need less than 1 MiB a file. */
export const MAX_SAFETENSORS_HEADER_BYTES = 16 * 1024 * 1024
const MAX_NAME_CHARS = 256
/** The length of the header, a uint64, comes before it. */
const PREFIX_BYTES = 8

const WEIGHT_TYPES: ReadonlyMap<string, WeightType> = new Map([
  ['F32', 'f32'],
  ['F16', 'f16'],
  ['BF16', 'bf16'],
])

export interface SafetensorsFile {
  readonly tensors: readonly StoredTensor[]
  /** The prefix and the header as they stand in the file, for the digest. */
  readonly headerBytes: Buffer
}

/**
 * Reads the header of a safetensors file. The tensors it lists must cover the data section whole,
 * without a gap and without overlap, each exactly as long as its type and shape say.
 * Throws only ModelFileError.
 */
export function readSafetensors(source: ByteSource): SafetensorsFile {
  const { path, byteLength: fileLength } = source
  if (fileLength < PREFIX_BYTES) {
    throw new ModelFileError(path, 'header length', endsEarly(0, PREFIX_BYTES, fileLength))
  }
  const statedLength = source.read(0, PREFIX_BYTES).readBigUInt64LE()
  if (statedLength < 2n || statedLength > BigInt(MAX_SAFETENSORS_HEADER_BYTES)) {
    throw new ModelFileError(
      path,
      'header length',
      `is ${statedLength}, allowed are 2 to ${MAX_SAFETENSORS_HEADER_BYTES} bytes`,
    )
  }
  const headerLength = Number(statedLength)
  const dataStart = PREFIX_BYTES + headerLength
  if (dataStart > fileLength) {
    throw new ModelFileError(path, 'header', endsEarly(PREFIX_BYTES, headerLength, fileLength))
  }
  const headerBytes = source.read(0, dataStart)
  const header = parseJsonObject(headerBytes.subarray(PREFIX_BYTES), path, 'header')
  const names = Object.keys(header).filter((name) => name !== '__metadata__')
  checkMetadata(path, header.__metadata__)
  if (names.length < 1 || names.length > MAX_TENSORS) {
    const message = `lists ${names.length} tensors, allowed are 1 to ${MAX_TENSORS}`
    throw new ModelFileError(path, 'header', message)
  }
  const tensors = names.map((name) => readEntry(path, name, header[name], dataStart))
  checkCover(path, tensors, dataStart, fileLength)
  return { tensors, headerBytes }
}

function checkMetadata(path: string, metadata: unknown): void {
  if (metadata === undefined) return
  const isStringMap =
    isJsonObject(metadata) && Object.values(metadata).every((value) => typeof value === 'string')
  if (!isStringMap) {
    throw new ModelFileError(path, '__metadata__', 'is not an object of strings')
  }
}

function readEntry(path: string, name: string, entry: unknown, dataStart: number): StoredTensor {
  const field = `tensor ${JSON.stringify(name.slice(0, MAX_NAME_CHARS))}`
  if (name.length === 0 || name.length > MAX_NAME_CHARS) {
    const message = `has a name of ${name.length} characters, allowed are 1 to ${MAX_NAME_CHARS}`
    throw new ModelFileError(path, field, message)
  }
  if (!isJsonObject(entry)) throw new ModelFileError(path, field, 'is not an object')
  const type = readType(path, field, entry.dtype)
  const shape = readIntegers(path, field, entry, 'shape')
  const byteLength = tensorByteLength(type, shape)
  if (typeof byteLength === 'string') throw new ModelFileError(path, field, byteLength)

  const [begin, end, ...rest] = readIntegers(path, field, entry, 'data_offsets')
  if (begin === undefined || end === undefined || rest.length > 0 || begin > end) {
    throw new ModelFileError(path, field, 'has data_offsets that are not [begin, end]')
  }
  if (end - begin !== byteLength) {
    throw new ModelFileError(
      path,
      field,
      `has ${end - begin} bytes of data, but ${String(entry.dtype)} x [${shape.join(', ')}] is ` +
        `${byteLength}`,
    )
  }
  const offset = dataStart + begin
  // Native code reads whole elements; files written since 2023 pad the header so that they align.
  if (offset % WEIGHT_LAYOUTS[type].bytesPerBlock !== 0) {
    const message = `starts at byte ${offset}, unaligned for its type; save the file anew`
    throw new ModelFileError(path, field, message)
  }
  return { name, type, shape, offset, byteLength }
}

function readType(path: string, field: string, dtype: unknown): WeightType {
  const type = typeof dtype === 'string' ? WEIGHT_TYPES.get(dtype) : undefined
  if (type !== undefined) return type
  const supported = [...WEIGHT_TYPES.keys()].join(', ')
  const given = JSON.stringify(dtype)?.slice(0, 100) ?? 'missing'
  throw new ModelFileError(path, field, `has dtype ${given}; supported are ${supported}`)
}

function readIntegers(path: string, field: string, entry: JsonObject, key: string): number[] {
  const value = entry[key]
  const isIntegers =
    Array.isArray(value) &&
    value.length <= 8 &&
    value.every((item) => Number.isSafeInteger(item) && item >= 0)
  if (!isIntegers) {
    throw new ModelFileError(path, field, `has a ${key} that is no list of integers of 0 or more`)
  }
  return value
}

function checkCover(
  path: string,
  tensors: readonly StoredTensor[],
  dataStart: number,
  fileLength: number,
): void {
  let end = dataStart
  for (const tensor of [...tensors].sort((a, b) => a.offset - b.offset)) {
    if (tensor.offset !== end) {
      const what = tensor.offset < end ? 'an overlap' : 'a gap'
      throw new ModelFileError(
        path,
        `tensor ${JSON.stringify(tensor.name)}`,
        `starts at byte ${tensor.offset}, but the tensor before it ends at ${end}: ${what}`,
      )
    }
    end += tensor.byteLength
  }
  if (end > fileLength) {
    throw new ModelFileError(path, 'file', endsEarly(dataStart, end - dataStart, fileLength))
  }
  if (end < fileLength) {
    const message = `has ${fileLength - end} bytes behind the last tensor, allowed are none`
    throw new ModelFileError(path, 'file', message)
  }
}
