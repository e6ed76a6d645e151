import type { GgufCursor } from './gguf-cursor.js'
import type { WeightType } from './model-description.js'
import {
  MAX_DIMENSIONS,
  MAX_TENSOR_NAME_BYTES,
  MAX_TENSORS,
  type StoredTensor,
  tensorByteLength,
} from './weight-types.js'

/** Tensor types by their number in the file; those without a WeightType are known by name only. */
const TYPE_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries({
    ...{ 0: 'F32', 1: 'F16', 2: 'Q4_0', 3: 'Q4_1', 6: 'Q5_0', 7: 'Q5_1', 8: 'Q8_0', 9: 'Q8_1' },
    ...{ 10: 'Q2_K', 11: 'Q3_K', 12: 'Q4_K', 13: 'Q5_K', 14: 'Q6_K', 15: 'Q8_K' },
    ...{ 16: 'IQ2_XXS', 17: 'IQ2_XS', 18: 'IQ3_XXS', 19: 'IQ1_S', 20: 'IQ4_NL', 21: 'IQ3_S' },
    ...{ 22: 'IQ2_S', 23: 'IQ4_XS', 24: 'I8', 25: 'I16', 26: 'I32', 27: 'I64', 28: 'F64' },
    ...{ 29: 'IQ1_M', 30: 'BF16', 34: 'TQ1_0', 35: 'TQ2_0', 39: 'MXFP4' },
  }).map(([id, name]) => [Number(id), name]),
)

const WEIGHT_TYPES: ReadonlyMap<string, WeightType> = new Map([
  ['F32', 'f32'],
  ['F16', 'f16'],
  ['BF16', 'bf16'],
  ['Q8_0', 'q8_0'],
  ['Q4_0', 'q4_0'],
  ['Q4_1', 'q4_1'],
  ['Q6_K', 'q6_k'],
])

/** A tensor whose place is still counted from the data section, which starts after the header. */
interface TensorInfo extends Omit<StoredTensor, 'offset'> {
  readonly dataOffset: number
}

/** Reads `count` tensor infos; the cursor then stands at the end of the header. */
export function readTensorInfos(cursor: GgufCursor, count: number): TensorInfo[] {
  if (count < 1 || count > MAX_TENSORS) {
    cursor.fail('tensor_count', `is ${count}, allowed are 1 to ${MAX_TENSORS}`)
  }
  const names = new Set<string>()
  const infos: TensorInfo[] = []
  for (let i = 0; i < count; i++) {
    const name = cursor.string(`tensor ${i} (name)`, MAX_TENSOR_NAME_BYTES)
    if (names.has(name)) cursor.fail(`tensor ${JSON.stringify(name)}`, 'occurs twice')
    names.add(name)
    infos.push(readTensorInfo(cursor, name))
  }
  return infos
}

function readTensorInfo(cursor: GgufCursor, name: string): TensorInfo {
  const field = `tensor ${JSON.stringify(name)}`
  const numDimensions = cursor.uint32(field)
  if (numDimensions < 1 || numDimensions > MAX_DIMENSIONS) {
    cursor.fail(field, `has ${numDimensions} dimensions, allowed are 1 to ${MAX_DIMENSIONS}`)
  }
  const shape: number[] = []
  // The file has the innermost dimension first.
  for (let i = 0; i < numDimensions; i++) shape.unshift(cursor.size(field))
  const type = weightType(cursor, field, cursor.uint32(field))
  const byteLength = tensorByteLength(type, shape)
  if (typeof byteLength === 'string') cursor.fail(field, byteLength)
  return { name, type, shape, byteLength, dataOffset: cursor.size(field) }
}

function weightType(cursor: GgufCursor, field: string, typeId: number): WeightType {
  const typeName = TYPE_NAMES.get(typeId)
  const type = WEIGHT_TYPES.get(typeName ?? '')
  if (type !== undefined) return type
  const given = typeName === undefined ? `unknown type ${typeId}` : `type ${typeName}`
  cursor.fail(
    field,
    `has ${given}; supported are ${[...WEIGHT_TYPES.keys()].join(', ')}. ` +
      'Choose a file quantised to one of these',
  )
}

/**
 * Places the tensors in the file, in the order of the header: each starts at a multiple of
 * `alignment` behind `dataStart`, ends inside the file and shares no byte with another.
 */
export function placeTensors(
  cursor: GgufCursor,
  infos: readonly TensorInfo[],
  dataStart: number,
  alignment: number,
): StoredTensor[] {
  const { byteLength: fileLength } = cursor.source
  const tensors = infos.map(({ dataOffset, ...info }) => {
    const field = `tensor ${JSON.stringify(info.name)}`
    if (dataOffset % alignment !== 0) {
      cursor.fail(field, `starts at ${dataOffset}, which is no multiple of ${alignment}`)
    }
    const offset = dataStart + dataOffset
    // Each term is below 2^53, so their sum is compared before it could lose its last bit.
    if (dataOffset > fileLength || offset + info.byteLength > fileLength) {
      cursor.fail(
        field,
        `needs ${info.byteLength} bytes at offset ${offset}, but the file ends at ${fileLength}. ` +
          'It is cut short or broken: fetch it again',
      )
    }
    return { ...info, offset }
  })
  checkOverlaps(cursor, tensors)
  return tensors
}

function checkOverlaps(cursor: GgufCursor, tensors: readonly StoredTensor[]): void {
  const sorted = [...tensors].sort((a, b) => a.offset - b.offset)
  for (let i = 1; i < sorted.length; i++) {
    const [before, after] = [sorted[i - 1]!, sorted[i]!]
    if (before.offset + before.byteLength > after.offset) {
      cursor.fail(
        `tensor ${JSON.stringify(after.name)}`,
        `starts at ${after.offset}, inside of tensor ${JSON.stringify(before.name)}, ` +
          `which ends at ${before.offset + before.byteLength}`,
      )
    }
  }
}
