import { type ChildProcess, spawn } from 'node:child_process'
import { type Duplex, PassThrough, type Readable } from 'node:stream'
import { coreExitCode, describeCoreExit } from './core-exit.js'
import { FrameReader } from './frame-reader.js'
import { decodeFromCore, type FromCore } from './frames-from-core.js'
import type { Logger } from './logger.js'

export interface CoreProcessOptions {
  /** The script to run; it gets its end of the socket pair as descriptor 3. */
  readonly entryPath: string
  readonly logger: Logger
  readonly onMessage: (message: FromCore) => void
  /** Called once, when nothing more will come. `reason` is a clause. */
  readonly onExit: (reason: string) => void
}

/** Between the end of the process and the end of its pipe, whichever comes first. */
const maxDrainMs = 200
/** The core promises to be gone within a second of the pipe's end. */
const maxEndMs = 1500
const maxLogLineLen = 4096

/** One core process, from spawn to exit. */
export class CoreProcess {
  readonly #child: ChildProcess
  readonly #pipe: Duplex
  readonly #logger: Logger
  readonly #onExit: (reason: string) => void
  readonly #exited: Promise<void>
  /** What is known of why it ended: its own last words, or ours. */
  #reason: string | undefined
  #isOver = false

  constructor({ entryPath, logger, onMessage, onExit }: CoreProcessOptions) {
    this.#logger = logger
    this.#onExit = onExit
    // The core collects once, after it has read its files; see engine/core/main.ts.
    this.#child = spawn(process.execPath, ['--expose-gc', entryPath], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    })
    // Without a free descriptor there is no pipe at all; then an 'error' event is on its way.
    this.#pipe = (this.#child.stdio?.[3] as Duplex | undefined) ?? new PassThrough()
    this.#exited = new Promise((resolve) => this.#watchExit(resolve))
    this.#readFrames(onMessage)
    this.#forwardLines(this.#child.stdout, (line) => logger.info({}, `core: ${line}`))
    this.#forwardLines(this.#child.stderr, (line) => logger.warn({}, `core: ${line}`))
  }

  /** -1 if it could not even be started. */
  get pid(): number {
    return this.#child.pid ?? -1
  }

  send(frame: Buffer): void {
    if (!this.#isOver) this.#pipe.write(frame)
  }

  /** At once, whatever it is doing. */
  kill(reason: string): void {
    if (this.#isOver) return
    this.#reason ??= reason
    this.#child.kill('SIGKILL')
  }

  /** Closes the pipe, upon which the core ends; makes sure that it does. */
  async end(): Promise<void> {
    this.#reason ??= 'it was told to end'
    this.#pipe.end()
    const timer = setTimeout(() => this.kill('it did not end'), maxEndMs)
    await this.#exited
    clearTimeout(timer)
  }

  #readFrames(onMessage: (message: FromCore) => void): void {
    const reader = new FrameReader((type, payload) => {
      const message = decodeFromCore(type, payload)
      if (message.kind === 'fatal') this.#reason ??= message.message
      else if (!this.#isOver) onMessage(message)
    })
    this.#pipe.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk)
      } catch (error) {
        // Nothing after this can be trusted, not even where the next frame begins.
        this.#pipe.removeAllListeners('data')
        this.kill(`it sent a malformed frame: ${(error as Error).message}`)
      }
    })
    this.#pipe.on('end', () => {
      if (!reader.isAtFrameBoundary) this.#reason ??= 'it stopped in the middle of a frame'
      // It is probably on its way out, with a code that says more than a signal of ours.
      setTimeout(() => this.kill('it closed its connection'), maxDrainMs).unref()
    })
    this.#pipe.on('error', (error) => this.#logger.debug({ error }, 'the pipe to the core broke'))
  }

  #watchExit(resolve: () => void): void {
    let code: number | null = null
    let clause = 'it could not be started'
    const finish = () => {
      if (this.#isOver) return
      this.#isOver = true
      resolve()
      // A core that refused to start has said all that an operator needs.
      if (code === coreExitCode.startFailed) this.#onExit(this.#reason ?? clause)
      else this.#onExit(this.#reason === undefined ? clause : `${clause}; ${this.#reason}`)
    }
    this.#child.on('error', (error) => {
      clause += `: ${error.message}`
      finish()
    })
    this.#child.on('exit', (exitCode, signal) => {
      code = exitCode
      clause = describeCoreExit(exitCode, signal)
      setTimeout(finish, maxDrainMs)
    })
    // All streams have ended as well, so that its last words have been read.
    this.#child.on('close', finish)
  }

  /** What the core prints is for the operator's log, line by line and not without bound. */
  #forwardLines(stream: Readable | null | undefined, log: (line: string) => void): void {
    let rest = ''
    stream?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n')
      rest = (lines.pop() ?? '').slice(0, maxLogLineLen)
      for (const line of lines) if (line !== '') log(line.slice(0, maxLogLineLen))
    })
    stream?.on('end', () => {
      if (rest !== '') log(rest)
    })
  }
}
