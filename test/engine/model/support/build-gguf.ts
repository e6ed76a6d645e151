/** A metadata value as it goes into the file, with the type it claims to have. */
export type Value =
  | { type: 'uint8' | 'int8' | 'uint32' | 'int32'; value: number }
  | { type: 'uint64'; value: bigint }
  | { type: 'float32'; value: number }
  | { type: 'bool'; value: number }
  | { type: 'string'; value: string }
  | { type: 'strings'; value: readonly string[] }
  | { type: 'int32s' | 'float32s' | 'int8s'; value: readonly number[] }
  | { type: 'raw'; value: Buffer }

export interface TensorSpec {
  name: string
  /** As in the file: innermost first. */
  dims: readonly (number | bigint)[]
  typeId: number
  data: Buffer
  /** Instead of the next aligned place. */
  offset?: bigint
  /** Instead of dims.length. */
  numDims?: number
}

export interface GgufSpec {
  magic?: string
  version?: number
  numTensors?: bigint
  numKeys?: bigint
  alignment?: number
  metadata: readonly (readonly [string, Value])[]
  tensors: readonly TensorSpec[]
}

const TYPE_IDS = { uint8: 0, int8: 1, uint32: 4, int32: 5, float32: 6, bool: 7, uint64: 10 }

export const uint32 = (value: number): Value => ({ type: 'uint32', value })
export const float32 = (value: number): Value => ({ type: 'float32', value })
export const string = (value: string): Value => ({ type: 'string', value })

/** A GGUF file of exactly what is asked for, sense or nonsense. */
export function buildGguf(spec: GgufSpec): Buffer {
  const alignment = spec.alignment ?? 32
  const parts: Buffer[] = [
    Buffer.from(spec.magic ?? 'GGUF', 'latin1'),
    u32(spec.version ?? 3),
    u64(spec.numTensors ?? BigInt(spec.tensors.length)),
    u64(spec.numKeys ?? BigInt(spec.metadata.length)),
  ]
  for (const [key, value] of spec.metadata) parts.push(text(key), encodeValue(value))
  let dataLength = 0
  for (const tensor of spec.tensors) {
    parts.push(text(tensor.name), u32(tensor.numDims ?? tensor.dims.length))
    parts.push(...tensor.dims.map((dim) => u64(BigInt(dim))), u32(tensor.typeId))
    parts.push(u64(tensor.offset ?? BigInt(dataLength)))
    dataLength += aligned(tensor.data.byteLength, alignment)
  }
  const header = Buffer.concat(parts)
  const data = spec.tensors.map((tensor, i) =>
    // The last tensor is not padded: then each byte of the file matters.
    i === spec.tensors.length - 1 ? tensor.data : padded(tensor.data, alignment),
  )
  return Buffer.concat([padded(header, alignment), ...data])
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

export function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value)
  return bytes
}

export function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'utf8')
  return Buffer.concat([u64(BigInt(bytes.byteLength)), bytes])
}

function encodeValue(value: Value): Buffer {
  switch (value.type) {
    case 'raw':
      return value.value
    case 'string':
      return Buffer.concat([u32(8), text(value.value)])
    case 'strings':
      return Buffer.concat([
        ...[u32(9), u32(8), u64(BigInt(value.value.length))],
        ...value.value.map(text),
      ])
    case 'int32s':
      return encodeArray(5, Int32Array.from(value.value), value.value.length)
    case 'float32s':
      return encodeArray(6, Float32Array.from(value.value), value.value.length)
    case 'int8s':
      return encodeArray(1, Int8Array.from(value.value), value.value.length)
    case 'uint64':
      return Buffer.concat([u32(TYPE_IDS.uint64), u64(value.value)])
    default:
      return Buffer.concat([u32(TYPE_IDS[value.type]), encodeNumber(value)])
  }
}

function encodeNumber(value: { type: string; value: number }): Buffer {
  if (value.type === 'float32') return Buffer.from(Float32Array.of(value.value).buffer)
  if (value.type === 'uint32') return Buffer.from(Uint32Array.of(value.value).buffer)
  if (value.type === 'int32') return Buffer.from(Int32Array.of(value.value).buffer)
  return Buffer.from(Uint8Array.of(value.value).buffer)
}

function encodeArray(typeId: number, array: ArrayBufferView, length: number): Buffer {
  const bytes = Buffer.from(array.buffer, array.byteOffset, array.byteLength)
  return Buffer.concat([u32(9), u32(typeId), u64(BigInt(length)), bytes])
}

function aligned(length: number, alignment: number): number {
  return Math.ceil(length / alignment) * alignment
}

function padded(bytes: Buffer, alignment: number): Buffer {
  return Buffer.concat([
    bytes,
    Buffer.alloc(aligned(bytes.byteLength, alignment) - bytes.byteLength),
  ])
}
