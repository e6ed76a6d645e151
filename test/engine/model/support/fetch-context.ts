import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { FetchContext } from '../../../../engine/model/fetch-hub.js'
import { type FetchProgress, readFetchSettings } from '../../../../engine/model/fetch-settings.js'

/** Short times, so that a hang is over in a moment and a retry comes at once. */
export const FAST = { reachMs: 1500, idleMs: 1500, retryDelayMs: 1 }

/** A context whose caches lie in `folder`, and that writes down what it is told. */
export function contextFor(
  folder: string,
  endpoint: string,
  env: Readonly<Record<string, string>> = {},
): FetchContext & { progress: FetchProgress[]; notes: string[] } {
  const progress: FetchProgress[] = []
  const notes: string[] = []
  return {
    settings: readFetchSettings(
      { XDG_CACHE_HOME: join(folder, 'cache'), HF_ENDPOINT: endpoint, ...env },
      { timeouts: FAST },
    ),
    onProgress: (p) => progress.push(p),
    onNote: (sentence) => notes.push(sentence),
    progress,
    notes,
  }
}

/** An address on the loopback where nobody listens (any more). */
export async function refusingUrl(): Promise<string> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return `http://127.0.0.1:${port}`
}
