import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** Whether a process runs. One that has ended counts as gone, even if nobody has collected it. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  try {
    // pid (name) state ...; the name may hold spaces and brackets.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) !== 'Z'
  } catch {
    return process.platform !== 'linux'
  }
}

/** Waits until something is true; throws after `timeoutMs`. Returns the milliseconds it took. */
export async function until(
  isTrue: () => boolean | Promise<boolean>,
  timeoutMs = 10_000,
): Promise<number> {
  const startMs = performance.now()
  while (!(await isTrue())) {
    const elapsedMs = performance.now() - startMs
    if (elapsedMs > timeoutMs) throw new Error(`it did not happen within ${timeoutMs} ms`)
    await sleep(5)
  }
  return performance.now() - startMs
}
