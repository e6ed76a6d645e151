import { type ByteSource, endsEarly } from '../../../../engine/model/byte-source.js'
import { ModelFileError } from '../../../../engine/model/model-description.js'

/** A "file" of the bytes given. */
export class MemoryBytes implements ByteSource {
  readonly path = 'memory'
  readonly byteLength: number
  readonly #bytes: Buffer

  constructor(bytes: Buffer) {
    this.#bytes = bytes
    this.byteLength = bytes.byteLength
  }

  read(offset: number, length: number): Buffer {
    if (offset + length > this.byteLength) {
      throw new ModelFileError(this.path, 'file', endsEarly(offset, length, this.byteLength))
    }
    return Buffer.from(this.#bytes.subarray(offset, offset + length))
  }
}
