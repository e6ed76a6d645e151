import {
  copyFile,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { storageFailure } from './fetch-error.js'
import { INDEX_FILE, MAX_INDEX_BYTES, WEIGHTS_FILE } from './hub-layout.js'
import type { HubFile } from './hub-list.js'

const COMMIT = /^[0-9a-f]{40}$/
const BRANCH = 'main'

/**
 * One repository in the hub's standard cache:
 *
 *   models--owner--name/refs/main            the commit that main pointed at
 *   models--owner--name/blobs/DIGEST         contents, named by SHA-256 or git's SHA-1
 *   models--owner--name/snapshots/COMMIT/x   links to blobs: the repository as it looked
 */
export class CachedRepository {
  readonly folder: string
  readonly lockPath: string

  /** `repository` is `owner/name`. */
  constructor(hubCache: string, repository: string) {
    const folderName = `models--${repository.split('/').join('--')}`
    this.folder = join(hubCache, folderName)
    this.lockPath = join(hubCache, '.locks', folderName, 'kvasir.lock')
  }

  blobPath(file: HubFile): string {
    return join(this.folder, 'blobs', file.digest.hex)
  }

  snapshotPath(commit: string): string {
    return join(this.folder, 'snapshots', commit)
  }

  /**
   * A local path to open, or undefined: the snapshot's folder when it holds all that a model needs,
   * or `file` in it. The commit of main comes first, then the newest of the others.
   */
  async find(file: string | undefined): Promise<string | undefined> {
    for (const commit of await this.#commits()) {
      const snapshot = this.snapshotPath(commit)
      if (file !== undefined) {
        const path = join(snapshot, file)
        if (await isFile(path)) return path
      } else if (await isWholeModel(snapshot)) {
        return snapshot
      }
    }
    return undefined
  }

  /** Makes `file`, whose blob is in place, visible in the snapshot of `commit`. */
  async link(commit: string, file: HubFile): Promise<void> {
    const path = join(this.snapshotPath(commit), file.path)
    const blob = this.blobPath(file)
    try {
      await mkdir(dirname(path), { recursive: true })
      await rm(path, { force: true })
      await symlink(relative(dirname(path), blob), path).catch(async (error) => {
        // Some file systems have no links; a copy is what the hub's own tools make there, too.
        if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(error.code)) throw error
        await copyFile(blob, path)
      })
    } catch (error) {
      throw storageFailure(error, path)
    }
  }

  /** Lets main point at `commit`, once all of its files are linked. */
  async setMain(commit: string): Promise<void> {
    const path = join(this.folder, 'refs', BRANCH)
    try {
      await mkdir(dirname(path), { recursive: true })
      const draft = `${path}.${process.pid}`
      await writeFile(draft, commit)
      await rename(draft, path)
    } catch (error) {
      throw storageFailure(error, path)
    }
  }

  async #commits(): Promise<string[]> {
    const main = await readFile(join(this.folder, 'refs', BRANCH), 'utf8').catch(() => '')
    const names = await readdir(join(this.folder, 'snapshots')).catch(() => [])
    const others = await Promise.all(
      names
        .filter((name) => COMMIT.test(name) && name !== main.trim())
        .map(async (name) => ({ name, time: (await stat(this.snapshotPath(name))).mtimeMs })),
    )
    others.sort((a, b) => b.time - a.time)
    const ordered = others.map(({ name }) => name)
    return COMMIT.test(main.trim()) ? [main.trim(), ...ordered] : ordered
  }
}

/** Does a folder hold a model that can be opened, all shards included? Sizes are not looked at. */
async function isWholeModel(folder: string): Promise<boolean> {
  if (!(await isFile(join(folder, 'config.json')))) {
    const names = await readdir(folder).catch(() => [])
    const ggufNames = names.filter((name) => name.endsWith('.gguf'))
    return ggufNames.length === 1 && (await isFile(join(folder, ggufNames[0] ?? '')))
  }
  if (!(await isFile(join(folder, 'tokenizer.json')))) return false
  if (await isFile(join(folder, WEIGHTS_FILE))) return true
  if (!(await isFile(join(folder, INDEX_FILE)))) return false
  for (const name of await readShardNames(join(folder, INDEX_FILE))) {
    if (!(await isFile(join(folder, name)))) return false
  }
  return true
}

/** The files that an index names; a broken index names none, and opening the model says why. */
async function readShardNames(path: string): Promise<string[]> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined || found.size > MAX_INDEX_BYTES) return []
  try {
    const index = JSON.parse(await readFile(path, 'utf8')) as { weight_map?: unknown }
    const names = new Set(Object.values((index.weight_map ?? {}) as object))
    return [...names].filter((name): name is string => typeof name === 'string')
  } catch {
    return []
  }
}

/** A file, or a link whose target is there. */
async function isFile(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined)
  return found?.isFile() ?? false
}
