import { isUtf8 } from 'node:buffer'
import { type ByteSource, endsEarly } from './byte-source.js'
import { ModelFileError } from './model-description.js'

/** All of a GGUF file before its tensor data. The largest vocabularies in use need 20 MiB. */
export const MAX_HEADER_BYTES = 256 * 1024 * 1024
export const MAX_STRING_BYTES = 16 * 1024 * 1024

/** Bytes fetched at a time: a small model's whole header in one to three reads. */
const WINDOW_BYTES = 1024 * 1024

/**
 * Walks a GGUF header from front to back, little-endian, through a window over the file.
 * Nothing is read or allocated before the file is known to hold it; every failure is a
 * ModelFileError that names `field`.
 */
export class GgufCursor {
  readonly source: ByteSource
  #position = 0
  #window: Buffer = Buffer.alloc(0)
  #windowStart = 0

  constructor(source: ByteSource) {
    this.source = source
  }

  /** Bytes from the start of the file. */
  get position(): number {
    return this.#position
  }

  /** Bytes that a header may still take from here. */
  get numBytesLeft(): number {
    return Math.min(this.source.byteLength, MAX_HEADER_BYTES) - this.#position
  }

  fail(field: string, message: string): never {
    throw new ModelFileError(this.source.path, field, message)
  }

  /** The next `length` bytes: a view that is valid until the next call. */
  take(length: number, field: string): Buffer {
    if (length > this.numBytesLeft) {
      if (this.#position + length > this.source.byteLength) {
        this.fail(field, endsEarly(this.#position, length, this.source.byteLength))
      }
      this.fail(field, `lies past the first ${MAX_HEADER_BYTES} bytes, the limit for a header`)
    }
    const start = this.#position - this.#windowStart
    if (start + length > this.#window.byteLength) this.#moveWindow(length)
    const from = this.#position - this.#windowStart
    this.#position += length
    return this.#window.subarray(from, from + length)
  }

  uint8(field: string): number {
    return this.take(1, field).readUInt8()
  }

  uint32(field: string): number {
    return this.take(4, field).readUInt32LE()
  }

  /** A uint64 as a number; above 2^53 it is no size of anything that exists. */
  size(field: string): number {
    const value = this.take(8, field).readBigUInt64LE()
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      this.fail(field, `is ${value}, the limit is ${Number.MAX_SAFE_INTEGER}`)
    }
    return Number(value)
  }

  /** A string with its length in front, of at most `maxBytes` bytes of valid UTF-8. */
  string(field: string, maxBytes = MAX_STRING_BYTES): string {
    const length = this.size(`${field} (length)`)
    if (length > maxBytes) {
      this.fail(field, `is a string of ${length} bytes, the limit is ${maxBytes}`)
    }
    const bytes = this.take(length, field)
    const text = bytes.toString('utf8')
    // Decoding puts U+FFFD in the place of what is not UTF-8; only then is a second look needed.
    if (text.includes('\ufffd') && !isUtf8(bytes)) this.fail(field, 'is not valid UTF-8')
    return text
  }

  #moveWindow(length: number): void {
    const left = this.source.byteLength - this.#position
    this.#window = this.source.read(this.#position, Math.min(left, Math.max(length, WINDOW_BYTES)))
    this.#windowStart = this.#position
  }
}
