import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ModelFetchError, storageFailure } from './fetch-error.js'
import type { FetchProgress, FetchSettings } from './fetch-settings.js'
import { HttpGet } from './http-get.js'
import { type FileDigest, hubHeaders, statusFailure } from './hub-list.js'

/** Attempts in a row that bring not one new byte. */
const MAX_FRUITLESS_ATTEMPTS = 5
/** Attempts in all: a server that gives a byte at a time is given up, too. */
const MAX_ATTEMPTS = 100
const MAX_RETRY_DELAY_MS = 8_000
/** A transfer whose bytes are wrong is tried once more from the start: the cut may have lied. */
const MAX_WRONG_DIGESTS = 2

export interface DownloadJob {
  readonly url: string
  /** The name that messages and progress show. */
  readonly name: string
  readonly byteLength: number
  readonly digest: FileDigest
  /** The final name. Until size and digest are right the bytes lie in `path`.incomplete. */
  readonly path: string
}

export interface TransferContext {
  readonly settings: FetchSettings
  readonly onProgress: (progress: FetchProgress) => void
  readonly signal?: AbortSignal | undefined
}

/**
 * Brings one file to `job.path`, going on where an earlier attempt, or an earlier run, stopped.
 * A file of that name is there already when an earlier run finished: nothing is done then.
 * Rejects with ModelFetchError, or with the signal's reason; what has arrived stays for next time.
 */
export async function download(job: DownloadJob, context: TransferContext): Promise<void> {
  const existing = await stat(job.path).catch(() => undefined)
  if (existing?.size === job.byteLength) return
  const partPath = `${job.path}.incomplete`
  try {
    await mkdir(dirname(job.path), { recursive: true })
    for (let numWrong = 1; ; numWrong++) {
      await receiveAll(job, partPath, context)
      const hex = await digestOf(partPath, job)
      if (hex === job.digest.hex) break
      await rm(partPath, { force: true })
      if (numWrong === MAX_WRONG_DIGESTS) throw wrongDigest(job, hex)
    }
    await rename(partPath, job.path)
  } catch (error) {
    throw storageFailure(error, job.path)
  }
}

/** Attempts until the file has its size; each goes on behind the last byte of the one before. */
async function receiveAll(
  job: DownloadJob,
  partPath: string,
  context: TransferContext,
): Promise<void> {
  const { signal, settings } = context
  let numFruitless = 0
  const file = await open(partPath, 'a+')
  try {
    let size = (await file.stat()).size
    // More than the whole is the rest of something else.
    if (size > job.byteLength) size = await startOver(file)
    for (let attempt = 1; size < job.byteLength; attempt++) {
      signal?.throwIfAborted()
      const before = size
      try {
        await receive(job, file, size, context)
      } catch (error) {
        size = (await file.stat()).size
        numFruitless = size > before ? 0 : numFruitless + 1
        const isLast = numFruitless === MAX_FRUITLESS_ATTEMPTS || attempt === MAX_ATTEMPTS
        if (isLast || !isWorthARetry(error)) throw error
        const delayMs = settings.timeouts.retryDelayMs * 2 ** numFruitless
        await sleep(Math.min(delayMs, MAX_RETRY_DELAY_MS), undefined, { signal })
      }
      size = (await file.stat()).size
    }
    if (job.byteLength === 0) context.onProgress({ file: job.name, numBytesDone: 0, numBytes: 0 })
    await file.sync()
  } finally {
    await file.close()
  }
}

/** One request, from byte `start` on, appended to `file` as it comes. */
async function receive(
  job: DownloadJob,
  file: FileHandle,
  start: number,
  context: TransferContext,
): Promise<void> {
  const { settings, signal } = context
  const headers: Record<string, string> = {
    ...hubHeaders(job.url, settings),
    'accept-encoding': 'identity',
    ...(start > 0 && { range: `bytes=${start}-` }),
  }
  const get = await HttpGet.open(job.url, headers, settings.timeouts, signal)
  try {
    let position = await startOfBody(job, file, start, get.response, settings)
    context.onProgress({ file: job.name, numBytesDone: position, numBytes: job.byteLength })
    for await (const chunk of get.chunks(signal)) {
      if (position + chunk.byteLength > job.byteLength) throw wrongSize(job, 'sent more')
      await file.appendFile(chunk)
      position += chunk.byteLength
      context.onProgress({ file: job.name, numBytesDone: position, numBytes: job.byteLength })
    }
    if (position < job.byteLength) {
      const message = `${job.name}: the transfer was cut at ${position} of ${job.byteLength} bytes.`
      throw new ModelFetchError('unreachable', message)
    }
  } finally {
    get.close()
  }
}

/** Where the body's first byte belongs. A server that knows no ranges sends all: start over. */
async function startOfBody(
  job: DownloadJob,
  file: FileHandle,
  start: number,
  response: Response,
  settings: FetchSettings,
): Promise<number> {
  if (response.status === 206) {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '')
    const total = range?.[2] === '*' ? job.byteLength : Number(range?.[2])
    if (Number(range?.[1]) === start && total === job.byteLength) return start
    await startOver(file)
    throw brokenRange(job)
  }
  if (response.status === 416) {
    await startOver(file)
    throw brokenRange(job)
  }
  const failure = statusFailure(response.status, job.name, settings)
  if (failure !== undefined) throw failure
  const stated = response.headers.get('content-length')
  if (stated !== null && Number(stated) !== job.byteLength) {
    throw wrongSize(job, `states ${stated}`)
  }
  if (start > 0) await startOver(file)
  return 0
}

async function startOver(file: FileHandle): Promise<number> {
  await file.truncate(0)
  return 0
}

function isWorthARetry(error: unknown): boolean {
  if (!(error instanceof ModelFetchError)) return false
  return error.kind === 'unreachable' || error.kind === 'server'
}

async function digestOf(path: string, job: DownloadJob): Promise<string> {
  const hash = createHash(job.digest.kind === 'sha256' ? 'sha256' : 'sha1')
  // Git hashes a blob with its kind and size in front.
  if (job.digest.kind === 'git-sha1') hash.update(`blob ${job.byteLength}\0`)
  for await (const chunk of createReadStream(path)) hash.update(chunk)
  return hash.digest('hex')
}

/** The answer to a Range is not what was asked for; from the start it may be. */
function brokenRange(job: DownloadJob): ModelFetchError {
  const message = `${job.name}: the server does not go on where the transfer stopped. Try again.`
  return new ModelFetchError('server', message)
}

function wrongSize(job: DownloadJob, what: string): ModelFetchError {
  const message =
    `${job.name}: the hub lists ${job.byteLength} bytes, but the server ${what}. ` +
    'The file changed or the server is broken: try again in a while.'
  return new ModelFetchError('corrupt', message)
}

function wrongDigest(job: DownloadJob, hex: string): ModelFetchError {
  const message =
    `${job.name}: what arrived has the ${job.digest.kind} ${hex}, the hub lists ` +
    `${job.digest.hex}. It was removed; try again, or another network.`
  return new ModelFetchError('corrupt', message)
}
