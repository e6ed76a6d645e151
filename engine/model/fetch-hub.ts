import { mkdir, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { download, type TransferContext } from './download.js'
import { ModelFetchError, storageFailure } from './fetch-error.js'
import { CachedRepository } from './hub-cache.js'
import { INDEX_FILE, PLAIN_FILE_NAME, WEIGHTS_FILE } from './hub-layout.js'
import { type HubFile, type HubListing, listHubFiles } from './hub-list.js'
import { withLock } from './lock-file.js'

const MAX_LIST_ATTEMPTS = 3
const SHARD = /^model-\d{5}-of-\d{5}\.safetensors$/
const REQUIRED = ['config.json', 'tokenizer.json']
const OPTIONAL = ['generation_config.json', 'tokenizer_config.json', 'chat_template.jinja']

export interface FetchContext extends TransferContext {
  readonly onNote: (sentence: string) => void
}

/**
 * Brings a model from the hub into its cache and gives the path to open: the snapshot's folder, or
 * the one GGUF file asked for. Whatever an earlier run brought is not brought again.
 */
export async function fetchFromHub(
  repository: string,
  file: string | undefined,
  context: FetchContext,
): Promise<string> {
  const { settings, signal } = context
  const cache = new CachedRepository(settings.hubCache, repository)
  // Asked before anything is written: an unreachable hub leaves no empty folders behind.
  const listing = await listWithRetries(repository, context)
  const files = chooseFiles(repository, file, listing)
  const onWait = () => context.onNote(`Another process is fetching ${repository}; waiting for it.`)
  try {
    await mkdir(cache.folder, { recursive: true })
    await withLock(cache.lockPath, () => fetchFiles(cache, repository, listing, files, context), {
      signal,
      onWait,
    })
  } catch (error) {
    throw storageFailure(error, cache.folder)
  }
  const snapshot = cache.snapshotPath(listing.commit)
  const [only] = files
  return only?.path.endsWith('.gguf') ? join(snapshot, only.path) : snapshot
}

async function fetchFiles(
  cache: CachedRepository,
  repository: string,
  { commit }: HubListing,
  files: readonly HubFile[],
  context: FetchContext,
): Promise<void> {
  await checkRoom(cache, files)
  const { endpoint } = context.settings
  for (const file of files) {
    const job = {
      url: `${endpoint}/${repository}/resolve/${commit}/${file.path}`,
      name: file.path,
      byteLength: file.byteLength,
      digest: file.digest,
      path: cache.blobPath(file),
    }
    await download(job, context)
    await cache.link(commit, file)
  }
  await cache.setMain(commit)
}

/** A busy hub is asked again; one that cannot be reached is not: the caller has other sources. */
async function listWithRetries(repository: string, context: FetchContext): Promise<HubListing> {
  const { settings, signal } = context
  for (let attempt = 1; ; attempt++) {
    try {
      return await listHubFiles(repository, settings, signal)
    } catch (error) {
      const isBusy = error instanceof ModelFetchError && error.kind === 'server'
      if (!isBusy || attempt === MAX_LIST_ATTEMPTS) throw error
      await sleep(settings.timeouts.retryDelayMs * 2 ** (attempt - 1), undefined, { signal })
    }
  }
}

/** What of a repository a model needs; small files first, so that a refusal comes early. */
function chooseFiles(
  repository: string,
  file: string | undefined,
  { files }: HubListing,
): readonly HubFile[] {
  const byName = new Map(files.filter((f) => PLAIN_FILE_NAME.test(f.path)).map((f) => [f.path, f]))
  const ggufNames = [...byName.keys()].filter((name) => name.endsWith('.gguf'))
  if (file !== undefined) {
    const found = byName.get(file)
    if (found !== undefined) return [found]
    const list = ggufNames.length > 0 ? ` It has ${ggufNames.slice(0, 20).join(', ')}.` : ''
    throw new ModelFetchError('not_found', `${repository} has no file ${file}.${list}`)
  }
  const weights = byName.get(WEIGHTS_FILE) ? [WEIGHTS_FILE] : shardNames(byName)
  if (weights.length === 0) return chooseGguf(repository, byName, ggufNames)
  for (const name of REQUIRED) {
    if (!byName.has(name)) {
      throw new ModelFetchError('not_found', `${repository} has no ${name}: it cannot be served.`)
    }
  }
  const names = [...REQUIRED, ...OPTIONAL, ...weights]
  return names.map((name) => byName.get(name)).filter((f) => f !== undefined)
}

function shardNames(byName: ReadonlyMap<string, HubFile>): string[] {
  if (!byName.has(INDEX_FILE)) return []
  return [INDEX_FILE, ...[...byName.keys()].filter((name) => SHARD.test(name)).sort()]
}

function chooseGguf(
  repository: string,
  byName: ReadonlyMap<string, HubFile>,
  ggufNames: readonly string[],
): readonly HubFile[] {
  const only = byName.get(ggufNames[0] ?? '')
  if (only !== undefined && ggufNames.length === 1) return [only]
  const message =
    ggufNames.length > 1
      ? `${repository} has several GGUF files: name one as ${repository}:FILE. It has ` +
        `${ggufNames.slice(0, 20).join(', ')}.`
      : `${repository} has neither safetensors nor GGUF files. Nothing else is read.`
  throw new ModelFetchError('not_found', message)
}

/** Refuses before the first byte what the disk has no room for. */
async function checkRoom(cache: CachedRepository, files: readonly HubFile[]): Promise<void> {
  let numBytesMissing = 0
  for (const file of files) {
    const path = cache.blobPath(file)
    const found = await stat(path).catch(() => stat(`${path}.incomplete`).catch(() => undefined))
    numBytesMissing += Math.max(0, file.byteLength - (found?.size ?? 0))
  }
  const { bavail, bsize } = await statfs(cache.folder)
  const numBytesFree = bavail * bsize
  if (numBytesMissing <= numBytesFree) return
  const message =
    `The model needs ${numBytesMissing} more bytes and ${cache.folder} has room for ` +
    `${numBytesFree}. Set HF_HOME to a folder with room, or free some space.`
  throw new ModelFetchError('disk', message)
}
