import { Socket } from 'node:net'
import { coreExitCode } from '../core-exit.js'
import { FrameReader } from '../frame-reader.js'
import { encodeFatal, encodeReady } from '../frames-from-core.js'
import { decodeToCore, type StartSpec } from '../frames-to-core.js'
import { type StartedCore, startCore } from './start-core.js'

/**
 * Entry of the core process. The front spawns it with one end of a socket pair as descriptor 3 and
 * speaks first. The core lives exactly as long as that connection: when the front ends, however it
 * ends, the other side closes and the core is gone within a second.
 */
const pipe = new Socket({ fd: 3, readable: true, writable: true })
const maxFlushMs = 200

let phase: 'new' | 'starting' | 'started' | 'ended' = 'new'
let core: StartedCore | undefined

// Ctrl-C and service managers signal the whole group. The front alone decides when the core ends.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
process.on('uncaughtException', (error) => fail(coreExitCode.crashed, error))
process.on('unhandledRejection', (error) => fail(coreExitCode.crashed, error))

const reader = new FrameReader((type, payload) => {
  const message = decodeToCore(type, payload)
  if (message.kind === 'start' && phase === 'new') start(message.spec)
  else if (core !== undefined) core.loop.receive(message)
  else throw new Error(`the front sent '${message.kind}' to a core that has not started`)
})

pipe.on('data', (chunk) => {
  try {
    reader.push(chunk)
  } catch (error) {
    fail(coreExitCode.badFrame, error)
  }
})
// Either comes first: 'close' after a write to a front that is gone.
pipe.on('end', leave)
pipe.on('close', leave)
pipe.on('error', () => {})

function start(spec: StartSpec): void {
  phase = 'starting'
  startCore(spec, (frame) => pipe.write(frame)).then(
    (started) => {
      phase = 'started'
      core = started
      // Reading a vocabulary leaves some 25 MB of strings that nobody needs any more, and a core
      // that then allocates next to nothing would carry them for ever.
      globalThis.gc?.()
      pipe.write(encodeReady(started.ready))
      started.loop.run().catch((error: unknown) => fail(coreExitCode.stepFailed, error))
    },
    (error: unknown) => {
      phase = 'ended'
      fail(coreExitCode.startFailed, error)
    },
  )
}

/** The connection is gone, and with it everyone who could read an answer. */
function leave(): void {
  if (phase === 'ended') return
  core?.trace?.close()
  if (areNativeThreadsBusy()) kill()
  phase = 'ended'
  core?.model.close()
  process.exit(coreExitCode.ended)
}

/** Tells the front why, then ends. No error is survived: the front starts a clean process. */
function fail(code: number, error: unknown): void {
  const isBusy = areNativeThreadsBusy()
  phase = 'ended'
  core?.trace?.close()
  const isForOperator = code === coreExitCode.startFailed || !(error instanceof Error)
  process.stderr.write(`${isForOperator ? messageOf(error) : error.stack}\n`)
  const end = () => (isBusy ? kill() : process.exit(code))
  pipe.end(encodeFatal(messageOf(error)), end)
  setTimeout(end, maxFlushMs)
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** An orderly exit would have to wait for them. */
function areNativeThreadsBusy(): boolean {
  return phase === 'starting' || core?.loop.isStepInFlight === true
}

function kill(): void {
  process.kill(process.pid, 'SIGKILL')
}
