import { homedir } from 'node:os'
import { join } from 'node:path'
import { ModelFetchError } from './fetch-error.js'

/** Bytes of one file that have arrived. `numBytes` is what it will have in the end. */
export interface FetchProgress {
  readonly file: string
  readonly numBytesDone: number
  readonly numBytes: number
}

/** Where models come from and where they go: the variables that the hub's own tools know. */
export interface FetchSettings {
  /** HF_ENDPOINT: the hub, or a mirror of it. No slash at the end. */
  readonly endpoint: string
  /** HF_TOKEN: sent to the endpoint only. */
  readonly token: string | undefined
  /** HF_HUB_OFFLINE. */
  readonly isOffline: boolean
  /** HF_HUB_CACHE, or `hub` in HF_HOME: shared with the hub's own tools. */
  readonly hubCache: string
  /** What comes from elsewhere: `kvasir/models` in XDG_CACHE_HOME. */
  readonly ownCache: string
  readonly timeouts: FetchTimeouts
}

export interface FetchTimeouts {
  /** Until a server has answered: name look-up, connection and headers together. */
  readonly reachMs: number
  /** Between two pieces of a transfer. */
  readonly idleMs: number
  /** Before the first retry; doubled before each further one. */
  readonly retryDelayMs: number
}

type Environment = Readonly<Record<string, string | undefined>>

const DEFAULT_ENDPOINT = 'https://huggingface.co'
const DEFAULT_TIMEOUTS: FetchTimeouts = { reachMs: 10_000, idleMs: 30_000, retryDelayMs: 500 }
const TRUE_WORDS = ['1', 'true', 'yes', 'on']

export interface FetchOverrides {
  readonly offline?: boolean | undefined
  /** Takes the place of the hub's cache folder. */
  readonly cacheFolder?: string | undefined
  readonly timeouts?: Partial<FetchTimeouts> | undefined
}

export function readFetchSettings(env: Environment, overrides: FetchOverrides = {}): FetchSettings {
  const cacheHome = env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache')
  const hubHome = env.HF_HOME || join(cacheHome, 'huggingface')
  const offlineWord = (env.HF_HUB_OFFLINE ?? '').toLowerCase()
  return {
    endpoint: readEndpoint(env.HF_ENDPOINT || DEFAULT_ENDPOINT),
    token: env.HF_TOKEN || undefined,
    isOffline: overrides.offline ?? TRUE_WORDS.includes(offlineWord),
    hubCache: overrides.cacheFolder ?? (env.HF_HUB_CACHE || join(hubHome, 'hub')),
    ownCache: join(cacheHome, 'kvasir', 'models'),
    timeouts: { ...DEFAULT_TIMEOUTS, ...overrides.timeouts },
  }
}

function readEndpoint(text: string): string {
  const isUrl = URL.canParse(text) && ['http:', 'https:'].includes(new URL(text).protocol)
  if (isUrl) return text.replace(/\/+$/, '')
  const message = `HF_ENDPOINT is ${JSON.stringify(text)}; it must be an http or https address.`
  throw new ModelFetchError('unreachable', message)
}
