import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import type { FastifyInstance } from 'fastify'
import type { EngineGate } from './engine-gate.js'

export interface ShutdownOptions {
  readonly app: FastifyInstance
  readonly gate: EngineGate
  readonly drainTimeoutMs: number
  /** A line for the person at the terminal. */
  readonly say: (line: string) => void
}

/** Time for readers to take the last bytes of finished answers. */
const flushTimeoutMs = 3_000
/** Time for what is no answer of the model, such as a refusal or a probe. */
const closeTimeoutMs = 200
/** Beyond the drain, before the process ends whatever it is doing. */
const lastResortMs = 10_000

/**
 * On SIGTERM or SIGINT: refuse new work, finish what was admitted, exit 0. A second signal ends the
 * process now. An exception nobody caught does the same and exits 1: its state is not to be trusted.
 */
export function installShutdown(options: ShutdownOptions): void {
  const { say } = options
  closeWithGrace(
    {
      delay: options.drainTimeoutMs + lastResortMs,
      logger: false,
      onSecondSignal: (signal) => say(`${signal} again: stopping now.`),
      onSecondError: (error) => say(`And then: ${error}`),
      onTimeout: () => say('The shutdown took too long: stopping now.'),
    },
    async ({ signal, err }) => {
      if (err) say(`An error nobody expected: ${err.stack ?? err}`)
      await drain(options, signal ?? 'Shutdown')
    },
  )
}

/** Refuses new work, finishes what was admitted within the time there is, closes everything. */
export async function drain(options: ShutdownOptions, reason: string): Promise<void> {
  const { app, gate, drainTimeoutMs, say } = options
  gate.beginDrain()
  const { numInFlight } = gate
  const limit = `at most ${drainTimeoutMs / 1000} s; once more stops at once`
  say(
    numInFlight === 0
      ? `${reason}: no request is open, stopping.`
      : `${reason}: finishing ${countRequests(numInFlight)} (${limit}).`,
  )
  const result = await gate.loaded?.drain(drainTimeoutMs)
  const numUnfinished = result?.numUnfinished ?? 0
  // Closing a server destroys connections whose answer is ended but not yet taken by the reader.
  await Promise.race([gate.whenIdle(), sleep(flushTimeoutMs, undefined, { ref: false })])
  await closeConnections(app)
  if (numUnfinished > 0) say(`Stopped; ${countRequests(numUnfinished)} could not be finished.`)
  else say(numInFlight === 0 ? 'Stopped.' : 'Stopped; everything admitted was finished.')
}

/** Idle connections are closed by `close` itself; one that still sends a refusal gets a moment. */
async function closeConnections(app: FastifyInstance): Promise<void> {
  const closeAll = setTimeout(() => app.server.closeAllConnections(), closeTimeoutMs)
  await app.close()
  clearTimeout(closeAll)
}

function countRequests(count: number): string {
  return count === 1 ? '1 request' : `${count} requests`
}
