import type { GgufCursor } from './gguf-cursor.js'
import { ModelFileError } from './model-description.js'

export const MAX_METADATA_KEYS = 65_536
/** The format's own limit. */
export const MAX_KEY_BYTES = 65_535

type NumberArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigUint64Array
  | BigInt64Array

/** A value with the type that the file gives it: a getter never reinterprets it. */
export type GgufValue =
  | { readonly kind: 'integer'; readonly type: string; readonly value: number | bigint }
  | { readonly kind: 'float'; readonly type: string; readonly value: number }
  | { readonly kind: 'boolean'; readonly type: 'bool'; readonly value: boolean }
  | { readonly kind: 'string'; readonly type: 'string'; readonly value: string }
  | { readonly kind: 'strings'; readonly type: 'string[]'; readonly value: readonly string[] }
  | { readonly kind: 'integers'; readonly type: string; readonly value: NumberArray }
  | { readonly kind: 'floats'; readonly type: string; readonly value: NumberArray }
  | { readonly kind: 'booleans'; readonly type: 'bool[]'; readonly value: Uint8Array }

interface NumberType {
  readonly name: string
  readonly byteLength: number
  readonly isFloat: boolean
  readonly read: (bytes: Buffer) => number | bigint
  readonly array: new (buffer: ArrayBuffer) => NumberArray
}

const NUMBER_TYPES: ReadonlyMap<number, NumberType> = new Map([
  [0, numberType('uint8', 1, (bytes) => bytes.readUInt8(), Uint8Array)],
  [1, numberType('int8', 1, (bytes) => bytes.readInt8(), Int8Array)],
  [2, numberType('uint16', 2, (bytes) => bytes.readUInt16LE(), Uint16Array)],
  [3, numberType('int16', 2, (bytes) => bytes.readInt16LE(), Int16Array)],
  [4, numberType('uint32', 4, (bytes) => bytes.readUInt32LE(), Uint32Array)],
  [5, numberType('int32', 4, (bytes) => bytes.readInt32LE(), Int32Array)],
  [6, numberType('float32', 4, (bytes) => bytes.readFloatLE(), Float32Array)],
  [10, numberType('uint64', 8, (bytes) => bytes.readBigUInt64LE(), BigUint64Array)],
  [11, numberType('int64', 8, (bytes) => bytes.readBigInt64LE(), BigInt64Array)],
  [12, numberType('float64', 8, (bytes) => bytes.readDoubleLE(), Float64Array)],
])
const BOOL = 7
const STRING = 8
const ARRAY = 9

/**
 * A GGUF file's metadata behind typed getters: each checks the type (and, for arrays, the count)
 * that the file states, and throws ModelFileError on another. An absent key is undefined; the
 * `require` forms refuse that too.
 */
export class GgufMetadata {
  readonly path: string
  readonly #values: ReadonlyMap<string, GgufValue>

  constructor(path: string, values: ReadonlyMap<string, GgufValue>) {
    this.path = path
    this.#values = values
  }

  has(key: string): boolean {
    return this.#values.has(key)
  }

  keys(): IterableIterator<string> {
    return this.#values.keys()
  }

  string(key: string): string | undefined {
    return this.#find(key, 'string')?.value
  }

  boolean(key: string): boolean | undefined {
    return this.#find(key, 'boolean')?.value
  }

  /** An integer of any width that a JavaScript number holds exactly. */
  integer(key: string): number | undefined {
    const value = this.#find(key, 'integer')?.value
    if (value === undefined) return undefined
    const number = Number(value)
    if (!Number.isSafeInteger(number)) this.fail(key, `is ${value}, which is outside of ±2^53`)
    return number
  }

  /** An integer or a float; never NaN or infinite. */
  number(key: string): number | undefined {
    const value = this.#values.get(key)
    if (value === undefined) return undefined
    if (value.kind === 'integer') return this.integer(key)
    if (value.kind !== 'float') this.fail(key, `is ${value.type}, expected is a number`)
    if (!Number.isFinite(value.value)) this.fail(key, `is ${value.value}, expected is a number`)
    return value.value
  }

  /** An array of strings, of `count` elements if that is given. */
  strings(key: string, count?: number): readonly string[] | undefined {
    const value = this.#find(key, 'strings')?.value
    if (value !== undefined) this.#checkCount(key, value.length, count)
    return value
  }

  /** An array of integers of up to 32 bits, of `count` elements if that is given. */
  integers(key: string, count?: number): ArrayLike<number> | undefined {
    const found = this.#find(key, 'integers')
    if (found === undefined) return undefined
    if (found.value instanceof BigUint64Array || found.value instanceof BigInt64Array) {
      this.fail(key, `is ${found.type}, expected are integers of at most 32 bits`)
    }
    this.#checkCount(key, found.value.length, count)
    return found.value
  }

  /** An array of floats (never integers read as such), of `count` elements if that is given. */
  floats(key: string, count?: number): Float32Array | Float64Array | undefined {
    const found = this.#find(key, 'floats')
    if (found === undefined) return undefined
    this.#checkCount(key, found.value.length, count)
    return found.value as Float32Array | Float64Array
  }

  /** An array of numbers of either sort, of `count` elements if that is given. */
  numbers(key: string, count?: number): ArrayLike<number> | undefined {
    const kind = this.#values.get(key)?.kind
    return kind === 'floats' ? this.floats(key, count) : this.integers(key, count)
  }

  requireString(key: string): string {
    return this.string(key) ?? this.#missing(key)
  }

  requireBoolean(key: string): boolean {
    return this.boolean(key) ?? this.#missing(key)
  }

  requireInteger(key: string): number {
    return this.integer(key) ?? this.#missing(key)
  }

  requireNumber(key: string): number {
    return this.number(key) ?? this.#missing(key)
  }

  requireStrings(key: string, count?: number): readonly string[] {
    return this.strings(key, count) ?? this.#missing(key)
  }

  requireNumbers(key: string, count?: number): ArrayLike<number> {
    return this.numbers(key, count) ?? this.#missing(key)
  }

  /** Refuses the file because of what `key` says. */
  fail(key: string, message: string): never {
    throw new ModelFileError(this.path, key, message)
  }

  #missing(key: string): never {
    this.fail(key, 'is missing from the metadata')
  }

  #find<K extends GgufValue['kind']>(
    key: string,
    kind: K,
  ): Extract<GgufValue, { kind: K }> | undefined {
    const value = this.#values.get(key)
    if (value === undefined) return undefined
    if (value.kind !== kind) this.fail(key, `is ${value.type}, expected is ${EXPECTED[kind]}`)
    return value as Extract<GgufValue, { kind: K }>
  }

  #checkCount(key: string, length: number, count: number | undefined): void {
    if (count === undefined || length === count) return
    this.fail(key, `has ${length} elements, expected are ${count}`)
  }
}

const EXPECTED: Readonly<Record<GgufValue['kind'], string>> = {
  integer: 'an integer',
  float: 'a float',
  boolean: 'a bool',
  string: 'a string',
  strings: 'an array of strings',
  integers: 'an array of integers',
  floats: 'an array of floats',
  booleans: 'an array of bools',
}

/** Reads `count` key-value pairs. Keys are unique, arrays are one level deep. */
export function readGgufMetadata(cursor: GgufCursor, count: number): GgufMetadata {
  if (count > MAX_METADATA_KEYS) {
    cursor.fail('metadata_kv_count', `is ${count}, the limit is ${MAX_METADATA_KEYS}`)
  }
  const values = new Map<string, GgufValue>()
  for (let i = 0; i < count; i++) {
    const key = cursor.string(`metadata key ${i}`, MAX_KEY_BYTES)
    if (values.has(key)) cursor.fail(JSON.stringify(key), 'occurs twice in the metadata')
    values.set(key, readValue(cursor, key))
  }
  return new GgufMetadata(cursor.source.path, values)
}

function readValue(cursor: GgufCursor, key: string): GgufValue {
  const typeId = cursor.uint32(key)
  if (typeId === STRING) return { kind: 'string', type: 'string', value: cursor.string(key) }
  if (typeId === BOOL) return { kind: 'boolean', type: 'bool', value: readBool(cursor, key) }
  if (typeId === ARRAY) return readArray(cursor, key)
  const type = NUMBER_TYPES.get(typeId)
  if (type === undefined) cursor.fail(key, `has value type ${typeId}, known are 0 to 12`)
  const value = type.read(cursor.take(type.byteLength, key))
  if (type.isFloat) return { kind: 'float', type: type.name, value: Number(value) }
  return { kind: 'integer', type: type.name, value }
}

function readBool(cursor: GgufCursor, key: string): boolean {
  const byte = cursor.uint8(key)
  if (byte > 1) cursor.fail(key, `is a bool of value ${byte}, allowed are 0 and 1`)
  return byte === 1
}

function readArray(cursor: GgufCursor, key: string): GgufValue {
  const typeId = cursor.uint32(key)
  if (typeId === ARRAY) cursor.fail(key, 'is an array of arrays, allowed is one level')
  const length = cursor.size(`${key} (count)`)
  if (typeId === STRING) {
    // The shortest string takes the 8 bytes of its length.
    checkArrayFits(cursor, key, length, 8)
    const value: string[] = []
    for (let i = 0; i < length; i++) value.push(cursor.string(`${key}[${i}]`))
    return { kind: 'strings', type: 'string[]', value }
  }
  const type = NUMBER_TYPES.get(typeId === BOOL ? 0 : typeId)
  if (type === undefined) cursor.fail(key, `has elements of type ${typeId}, known are 0 to 12`)
  checkArrayFits(cursor, key, length, type.byteLength)
  // A copy, because a typed array must start at a multiple of its element's size.
  const bytes = cursor.take(length * type.byteLength, key)
  const value = new type.array(new Uint8Array(bytes).buffer as ArrayBuffer)
  if (typeId === BOOL) return { kind: 'booleans', type: 'bool[]', value: value as Uint8Array }
  return { kind: type.isFloat ? 'floats' : 'integers', type: `${type.name}[]`, value }
}

function checkArrayFits(cursor: GgufCursor, key: string, length: number, minBytes: number): void {
  if (length <= cursor.numBytesLeft / minBytes) return
  cursor.fail(
    key,
    `has ${length} elements of at least ${minBytes} bytes, but ${cursor.numBytesLeft} bytes are ` +
      'left for the header',
  )
}

function numberType(
  name: string,
  byteLength: number,
  read: (bytes: Buffer) => number | bigint,
  array: new (buffer: ArrayBuffer) => NumberArray,
): NumberType {
  return { name, byteLength, isFloat: name.startsWith('float'), read, array }
}
