import { FrameError, frameHeaderBytes, maxFrameBytes } from './frame-layout.js'

/** One whole frame, or nothing: a type and the bytes behind it. */
export type FrameSink = (type: number, payload: Buffer) => void

/**
 * Cuts a byte stream into frames, however the stream was split. A frame reaches the sink only when
 * its last byte is there, so that nothing is ever half applied. After a FrameError the reader is
 * spent: there is no way to find the next frame's start.
 */
export class FrameReader {
  readonly #sink: FrameSink
  readonly #header = Buffer.alloc(frameHeaderBytes)
  #numHeaderBytes = 0
  #payload: Buffer | undefined
  #numPayloadBytes = 0

  constructor(sink: FrameSink) {
    this.#sink = sink
  }

  /** True between two frames: an end of the stream here loses nothing. */
  get isAtFrameBoundary(): boolean {
    return this.#numHeaderBytes === 0
  }

  push(chunk: Buffer): void {
    let offset = 0
    while (offset < chunk.length) {
      offset =
        this.#payload === undefined
          ? this.#readHeader(chunk, offset)
          : this.#readPayload(this.#payload, chunk, offset)
    }
  }

  #readHeader(chunk: Buffer, offset: number): number {
    const numBytes = Math.min(frameHeaderBytes - this.#numHeaderBytes, chunk.length - offset)
    chunk.copy(this.#header, this.#numHeaderBytes, offset, offset + numBytes)
    this.#numHeaderBytes += numBytes
    if (this.#numHeaderBytes < frameHeaderBytes) return offset + numBytes

    const frameLen = this.#header.readUInt32LE(0)
    if (frameLen < 1 || frameLen > maxFrameBytes) {
      throw new FrameError(`A frame says it has ${frameLen} bytes; 1 to ${maxFrameBytes} are.`)
    }
    this.#payload = Buffer.allocUnsafe(frameLen - 1)
    this.#numPayloadBytes = 0
    if (frameLen === 1) this.#deliver(this.#payload)
    return offset + numBytes
  }

  #readPayload(payload: Buffer, chunk: Buffer, offset: number): number {
    const numBytes = Math.min(payload.length - this.#numPayloadBytes, chunk.length - offset)
    chunk.copy(payload, this.#numPayloadBytes, offset, offset + numBytes)
    this.#numPayloadBytes += numBytes
    if (this.#numPayloadBytes === payload.length) this.#deliver(payload)
    return offset + numBytes
  }

  #deliver(payload: Buffer): void {
    this.#payload = undefined
    this.#numHeaderBytes = 0
    this.#sink(this.#header.readUInt8(4), payload)
  }
}
