import { lstatSync, realpathSync } from 'node:fs'
import { basename, dirname, join, resolve, sep } from 'node:path'
import { withFile } from './byte-source.js'
import { PLAIN_FILE_NAME } from './hub-layout.js'
import { ModelFileError } from './model-description.js'
import { type JsonObject, parseJsonObject } from './strict-json.js'

/**
 * The one way to a file of a model folder. A name is plain (no path, no odd character), and what
 * it leads to lies in the folder itself: a symbolic link may not point out of it, except that the
 * hub's cache links each file of a snapshot to the blobs of the same repository.
 */
export class ModelFolder {
  readonly path: string
  readonly #roots: readonly string[]

  /** `path` comes from the operator; the folder exists. */
  constructor(path: string) {
    this.path = realpathSync(resolve(path))
    const snapshots = dirname(this.path)
    const isSnapshot = basename(snapshots) === 'snapshots'
    this.#roots = isSnapshot ? [this.path, join(dirname(snapshots), 'blobs')] : [this.path]
  }

  /**
   * The file's real path, or undefined when the folder has none of this name. Throws
   * ModelFileError for a name that is not plain and for a link that leads out of the folder.
   */
  find(name: string): string | undefined {
    if (!PLAIN_FILE_NAME.test(name)) {
      const message = 'is no plain file name (letters, digits, ".", "_", "-"); paths are refused'
      throw new ModelFileError(this.path, JSON.stringify(name.slice(0, 100)), message)
    }
    const path = join(this.path, name)
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return undefined
    const realPath = this.#realPath(path)
    if (this.#roots.some((root) => realPath.startsWith(root + sep))) return realPath
    const message = `leads out of the model folder, to ${realPath}. Copy the file into the folder`
    throw new ModelFileError(path, 'symbolic link', message)
  }

  /** As find, but an absent file is refused. */
  require(name: string): string {
    const path = this.find(name)
    if (path === undefined) throw new ModelFileError(this.path, name, 'is missing from the folder')
    return path
  }

  /** The bytes of a small file, or undefined when there is none. */
  readBytes(name: string, maxBytes: number): Buffer | undefined {
    const path = this.find(name)
    if (path === undefined) return undefined
    return withFile(path, (source) => {
      if (source.byteLength > maxBytes) {
        const message = `has ${source.byteLength} bytes, the limit is ${maxBytes}`
        throw new ModelFileError(join(this.path, name), 'file', message)
      }
      return source.read(0, source.byteLength)
    })
  }

  readJson(name: string, maxBytes: number): JsonObject | undefined {
    const bytes = this.readBytes(name, maxBytes)
    return bytes && parseJsonObject(bytes, join(this.path, name), 'file')
  }

  #realPath(path: string): string {
    try {
      return realpathSync(path)
    } catch {
      throw new ModelFileError(path, 'symbolic link', 'leads nowhere. Fetch the model again')
    }
  }
}
