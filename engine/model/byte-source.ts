import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { ModelFileError } from './model-description.js'

/** Bytes of a file that nobody has vouched for. Reads are bounded by the caller and by the file. */
export interface ByteSource {
  readonly path: string
  readonly byteLength: number
  /**
   * Exactly `length` bytes from `offset` on, in a buffer of their own.
   * Throws ModelFileError when the file ends before that.
   */
  read(offset: number, length: number): Buffer
}

/**
 * A regular file, opened once, its size pinned at that moment.
 *
 * Reads are synchronous: only headers pass through here, at start, a few MB in a few calls, and a
 * parser that waits for each string would be slower and harder to read.
 */
export class FileBytes implements ByteSource {
  readonly path: string
  readonly byteLength: number
  readonly #descriptor: number

  /**
   * `path` must already be resolved: a link in its last part is refused, and so is whatever is not
   * a regular file. O_NONBLOCK keeps a FIFO from holding the open for ever.
   */
  constructor(path: string) {
    this.path = path
    try {
      const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
      this.#descriptor = openSync(path, flags)
    } catch (error) {
      throw new ModelFileError(path, 'file', openFailure(error))
    }
    const stat = fstatSync(this.#descriptor)
    if (!stat.isFile()) {
      this.close()
      throw new ModelFileError(path, 'file', 'is not a regular file')
    }
    this.byteLength = stat.size
  }

  read(offset: number, length: number): Buffer {
    if (offset + length > this.byteLength) {
      throw new ModelFileError(this.path, 'file', endsEarly(offset, length, this.byteLength))
    }
    const bytes = Buffer.allocUnsafe(length)
    let numBytesRead = 0
    while (numBytesRead < length) {
      const numBytes = readSync(
        this.#descriptor,
        bytes,
        numBytesRead,
        length - numBytesRead,
        offset + numBytesRead,
      )
      if (numBytes === 0) {
        throw new ModelFileError(this.path, 'file', 'shrank while it was being read')
      }
      numBytesRead += numBytes
    }
    return bytes
  }

  close(): void {
    closeSync(this.#descriptor)
  }
}

/** Opens `path`, hands it to `use`, and closes it whatever happens. */
export function withFile<T>(path: string, use: (source: ByteSource) => T): T {
  const source = new FileBytes(path)
  try {
    return use(source)
  } finally {
    source.close()
  }
}

/** The sentence for a read that goes past the end; the cure is the same for every format. */
export function endsEarly(offset: number, length: number, byteLength: number): string {
  return (
    `needs ${length} bytes at offset ${offset}, but the file ends at ${byteLength}. ` +
    'It is cut short or broken: fetch it again'
  )
}

function openFailure(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'ENOENT') return 'does not exist'
  if (code === 'EACCES' || code === 'EPERM') return 'may not be read by this user'
  if (code === 'ELOOP') return 'is a symbolic link where a regular file is expected'
  if (code === 'ENXIO') return 'is not a regular file'
  return `cannot be opened (${code ?? String(error)})`
}
