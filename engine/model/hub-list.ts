import { listFiles, modelInfo } from '@huggingface/hub'
import { ModelFetchError } from './fetch-error.js'
import type { FetchSettings } from './fetch-settings.js'
import { Deadline, networkFailure } from './http-get.js'

/** A repository is small; a list without end must not fill the memory. */
const MAX_LISTED_FILES = 10_000
const COMMIT = /^[0-9a-f]{40}$/
const SHA256 = /^[0-9a-f]{64}$/
const SHA1 = /^[0-9a-f]{40}$/

/** How a file's content is known: large files by SHA-256, small ones as a git blob. */
export interface FileDigest {
  readonly kind: 'sha256' | 'git-sha1'
  readonly hex: string
}

export interface HubFile {
  readonly path: string
  readonly byteLength: number
  readonly digest: FileDigest
}

export interface HubListing {
  /** The commit that the files belong to: what is fetched is of one piece. */
  readonly commit: string
  readonly files: readonly HubFile[]
}

/**
 * The files at the head of a repository's main branch. Rejects with ModelFetchError: 'unreachable'
 * within the reach timeout, 'not_found', 'forbidden' (with what to do), 'server', 'corrupt'.
 */
export async function listHubFiles(
  repository: string,
  settings: FetchSettings,
  signal?: AbortSignal,
): Promise<HubListing> {
  const deadline = new Deadline(settings.timeouts.reachMs, signal)
  const options = { hubUrl: settings.endpoint, fetch: hubFetch(repository, settings, deadline) }
  try {
    const info = await modelInfo({ name: repository, additionalFields: ['sha'], ...options })
    const commit = info.sha
    if (typeof commit !== 'string' || !COMMIT.test(commit)) {
      throw new ModelFetchError('corrupt', `The hub names no commit of ${repository}.`)
    }
    const files: HubFile[] = []
    for await (const entry of listFiles({ repo: repository, revision: commit, ...options })) {
      if (entry.type === 'file') files.push(toHubFile(repository, entry))
      if (files.length > MAX_LISTED_FILES) {
        const message = `${repository} lists more than ${MAX_LISTED_FILES} files.`
        throw new ModelFetchError('corrupt', message)
      }
    }
    return { commit, files }
  } catch (error) {
    throw networkFailure(error, settings.endpoint, deadline, signal)
  } finally {
    deadline.clear()
  }
}

/** The headers for a request to `url`: the token goes to the endpoint and nowhere else. */
export function hubHeaders(url: string, settings: FetchSettings): Record<string, string> {
  const isEndpoint = new URL(url).origin === new URL(settings.endpoint).origin
  return isEndpoint && settings.token ? { authorization: `Bearer ${settings.token}` } : {}
}

/** A hub's refusal as an error with advice; undefined when the status is a success. */
export function statusFailure(
  status: number,
  what: string,
  settings: FetchSettings,
): ModelFetchError | undefined {
  if (status >= 200 && status < 300) return undefined
  const { host } = new URL(settings.endpoint)
  if (status === 404) {
    return new ModelFetchError('not_found', `${host} has no ${what}. Check the spelling.`)
  }
  if (status === 401 || status === 403) {
    const advice = settings.token
      ? 'The token in HF_TOKEN gives no access: accept the licence on its page with that account'
      : 'It does not exist, or needs an account: set HF_TOKEN to an access token that may read it'
    return new ModelFetchError('forbidden', `${host} refuses ${what} (${status}). ${advice}.`)
  }
  const advice = 'Try again in a while'
  return new ModelFetchError('server', `${host} answered ${status} for ${what}. ${advice}.`)
}

/** A fetch for the hub's library: bounded in time, our token, our errors. */
function hubFetch(repository: string, settings: FetchSettings, deadline: Deadline): typeof fetch {
  return async (input) => {
    const url = String(input)
    const headers = { accept: 'application/json', ...hubHeaders(url, settings) }
    const response = await fetch(url, { headers, signal: deadline.signal })
    const failure = statusFailure(response.status, `model ${repository}`, settings)
    if (failure === undefined) return response
    await response.body?.cancel()
    throw failure
  }
}

function toHubFile(
  repository: string,
  entry: { path: string; size: number; oid?: string; lfs?: { oid: string; size: number } },
): HubFile {
  const byteLength = entry.lfs?.size ?? entry.size
  const hex = entry.lfs?.oid ?? entry.oid ?? ''
  const isKnown = entry.lfs ? SHA256.test(hex) : SHA1.test(hex)
  const isSize = Number.isSafeInteger(byteLength) && byteLength >= 0
  if (typeof entry.path !== 'string' || !isKnown || !isSize) {
    const message = `The hub lists a file of ${repository} without a size and digest to check.`
    throw new ModelFetchError('corrupt', message)
  }
  return { path: entry.path, byteLength, digest: { kind: entry.lfs ? 'sha256' : 'git-sha1', hex } }
}
