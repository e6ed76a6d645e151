import process from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'
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
/** A Ctrl-C reaches a process twice when npm runs it: from the terminal, and passed on by npm. */
const sameSignalMs = 500

/**
 * On SIGINT, SIGTERM or SIGHUP: refuse new work, finish what was admitted, exit 0. A second signal
 * ends the process now. An exception that nobody caught does the same and exits 1: the state it left
 * behind is not to be trusted with another request.
 */
export function installShutdown(options: ShutdownOptions): void {
  const { say } = options
  let startedAt: number | undefined
  const shutDown = async (reason: string, exitCode: number) => {
    startedAt = performance.now()
    setTimeout(() => {
      say('The shutdown took too long: stopping now.')
      process.exit(1)
    }, options.drainTimeoutMs + lastResortMs).unref()
    await drain(options, reason)
    process.exit(exitCode)
  }
  const onSignal = (signal: NodeJS.Signals) => {
    if (startedAt === undefined) return void shutDown(signal, 0)
    if (performance.now() - startedAt < sameSignalMs) return
    say(`${signal} again: stopping now.`)
    process.exit(1)
  }
  const onError = (error: unknown) => {
    say(`An error nobody expected: ${error instanceof Error ? error.stack : error}`)
    if (startedAt !== undefined) process.exit(1)
    void shutDown('Error', 1)
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
  process.on('uncaughtException', onError)
  process.on('unhandledRejection', onError)
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
