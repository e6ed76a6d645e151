import { setTimeout as sleep } from 'node:timers/promises'

/** Whether a process with this id exists; one that ended and was collected does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
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
