import { endianness } from 'node:os'

/**
 * Bytes of one frame after its length field, type included. A prompt of four million tokens fits;
 * a length above it can only come from a broken sender, and nothing is allocated for it.
 */
export const maxFrameBytes = 16 * 1024 * 1024

/** u32 length of what follows, then u8 type. All numbers are little-endian. */
export const frameHeaderBytes = 5

/** The other side sent bytes that are no frame. Whoever meets this gives the connection up. */
export class FrameError extends Error {
  override readonly name = 'FrameError'
}

// Typed arrays travel as the host holds them, so that a prompt is one copy and no loop.
if (endianness() !== 'LE') throw new Error('Kvasir needs a little-endian machine.')

/** Writes the fields of one frame in order. The size is known before the first field. */
export class FieldWriter {
  readonly #frame: Buffer
  #offset = frameHeaderBytes

  constructor(type: number, numPayloadBytes: number) {
    if (numPayloadBytes + 1 > maxFrameBytes) {
      throw new FrameError(`A frame of ${numPayloadBytes} bytes is over ${maxFrameBytes - 1}.`)
    }
    this.#frame = Buffer.allocUnsafe(frameHeaderBytes + numPayloadBytes)
    this.#frame.writeUInt32LE(numPayloadBytes + 1, 0)
    this.#frame.writeUInt8(type, 4)
  }

  u8(value: number): this {
    this.#offset = this.#frame.writeUInt8(value, this.#offset)
    return this
  }

  u32(value: number): this {
    this.#offset = this.#frame.writeUInt32LE(value, this.#offset)
    return this
  }

  f64(value: number): this {
    this.#offset = this.#frame.writeDoubleLE(value, this.#offset)
    return this
  }

  bytes(array: ArrayBufferView): this {
    this.#frame.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), this.#offset)
    this.#offset += array.byteLength
    return this
  }

  /** The whole frame, ready for the socket. */
  finish(): Buffer {
    if (this.#offset !== this.#frame.length) {
      throw new Error(`frame of ${this.#frame.length} bytes has ${this.#offset} written`)
    }
    return this.#frame
  }
}

/** Reads the fields of one frame in order; every method throws FrameError rather than guess. */
export class FieldReader {
  readonly #payload: Buffer
  #offset = 0

  constructor(payload: Buffer) {
    this.#payload = payload
  }

  u8(): number {
    return this.#payload.readUInt8(this.#take(1))
  }

  u32(): number {
    return this.#payload.readUInt32LE(this.#take(4))
  }

  f64(): number {
    return this.#payload.readDoubleLE(this.#take(8))
  }

  /** A whole number from 0 to 2^53 - 1, sent as a double. */
  integer(): number {
    const value = this.f64()
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new FrameError(`${value} is not a whole number from 0 to 2^53 - 1.`)
    }
    return value
  }

  flag(): boolean {
    const value = this.u8()
    if (value > 1) throw new FrameError(`${value} is not a flag.`)
    return value === 1
  }

  int32s(length: number): Int32Array {
    return new Int32Array(this.#copy(length, 4))
  }

  float32s(length: number): Float32Array {
    return new Float32Array(this.#copy(length, 4))
  }

  float64s(length: number): Float64Array {
    return new Float64Array(this.#copy(length, 8))
  }

  uint8s(length: number): Uint8Array {
    return new Uint8Array(this.#copy(length, 1))
  }

  /** All that is left, as UTF-8; broken sequences become U+FFFD. */
  text(): string {
    const start = this.#take(this.#payload.length - this.#offset)
    return this.#payload.toString('utf8', start)
  }

  /** A frame longer than its fields is as malformed as one that is too short. */
  end(): void {
    const numLeft = this.#payload.length - this.#offset
    if (numLeft !== 0) throw new FrameError(`A frame has ${numLeft} bytes too many.`)
  }

  /** A copy, because payloads are not aligned and typed arrays must be. */
  #copy(length: number, elementBytes: number): ArrayBuffer {
    const start = this.#take(length * elementBytes)
    const bytes = new Uint8Array(length * elementBytes)
    bytes.set(this.#payload.subarray(start, this.#offset))
    return bytes.buffer
  }

  #take(numBytes: number): number {
    const start = this.#offset
    if (numBytes > this.#payload.length - start) {
      throw new FrameError(
        `A frame ends early: ${numBytes} bytes wanted at ${start} of ${this.#payload.length}.`,
      )
    }
    this.#offset = start + numBytes
    return start
  }
}
