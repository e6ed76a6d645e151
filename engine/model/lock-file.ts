import { randomUUID } from 'node:crypto'
import { link, mkdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const POLL_MS = 200
const HEARTBEAT_MS = 5_000
/** A lock that nobody has touched for this long is nobody's, wherever its holder ran. */
const STALE_LOCK_MS = 60_000
/** A takeover takes milliseconds; one that has lasted this long died half-way. */
const STALE_TAKEOVER_MS = 10_000

/**
 * Runs `work` while this process holds the lock file `path`; others wait for it. A lock whose
 * holder is dead is taken over: its process is gone from this machine, or its heartbeat stopped.
 * Rejects with the signal's reason on abort.
 */
export async function withLock<T>(
  path: string,
  work: () => Promise<T>,
  options: { signal?: AbortSignal | undefined; onWait?: (() => void) | undefined } = {},
): Promise<T> {
  await mkdir(dirname(path), { recursive: true })
  const own = JSON.stringify({ pid: process.pid, host: hostname(), id: randomUUID() })
  let hasWaited = false
  while (!(await tryTake(path, own))) {
    const holder = await readOrEmpty(path)
    if (isGone(holder) || (await ageMs(path)) > STALE_LOCK_MS) {
      await removeDead(path, holder)
      continue
    }
    if (!hasWaited) options.onWait?.()
    hasWaited = true
    await sleep(POLL_MS, undefined, { signal: options.signal })
  }
  const heartbeat = setInterval(() => {
    utimes(path, new Date(), new Date()).catch(() => {})
  }, HEARTBEAT_MS)
  try {
    return await work()
  } finally {
    clearInterval(heartbeat)
    if ((await readOrEmpty(path)) === own) await rm(path, { force: true })
  }
}

async function tryTake(path: string, own: string): Promise<boolean> {
  // Written first and linked then, so that nobody ever reads a lock without its holder.
  const draft = `${path}.${process.pid}.${randomUUID()}`
  await writeFile(draft, own, { flag: 'wx' })
  try {
    await link(draft, path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  } finally {
    await rm(draft, { force: true })
  }
}

function isGone(holder: string): boolean {
  try {
    const { pid, host } = JSON.parse(holder) as { pid: unknown; host: unknown }
    if (host !== hostname() || typeof pid !== 'number') return false
    process.kill(pid, 0)
    return false
  } catch (error) {
    // ESRCH: no such process. EPERM: it lives and belongs to another user.
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

/**
 * Removes the lock of a dead holder, and never that of a live one which came between: the second
 * link is the right to remove, only one process can make it, and what it leads to is read again.
 */
async function removeDead(path: string, holder: string): Promise<void> {
  const right = `${path}.takeover`
  try {
    await link(path, right)
  } catch {
    if ((await ageMs(right)) > STALE_TAKEOVER_MS) await rm(right, { force: true })
    await sleep(POLL_MS / 10)
    return
  }
  try {
    if ((await readOrEmpty(right)) === holder) await rm(path, { force: true })
  } finally {
    await rm(right, { force: true })
  }
}

/** Since the last touch; 0 for a file that is not there (any more). */
async function ageMs(path: string): Promise<number> {
  const found = await stat(path).catch(() => undefined)
  return found === undefined ? 0 : Date.now() - found.mtimeMs
}

async function readOrEmpty(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '')
}
