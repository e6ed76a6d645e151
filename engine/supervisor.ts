import { CoreProcess } from './core-process.js'
import { engineFailed, modelLoading } from './errors.js'
import type { CoreReady, CoreState, FromCore } from './frames-from-core.js'
import { encodeInspect, encodeStart, type StartSpec } from './frames-to-core.js'
import type { Logger } from './logger.js'
import { defaultWatchdogLimits, Watchdog, type WatchdogLimits } from './watchdog.js'

export type SupervisorState = 'loading' | 'ready' | 'restarting' | 'failed' | 'closed'

export interface SupervisorOptions {
  /** The core's entry script. */
  readonly entryPath: string
  readonly spec: StartSpec
  readonly logger: Logger
  /** Whether the core has been given something that it has not finished. */
  readonly hasWork: () => boolean
  readonly onLoading: (numBytesDone: number, numBytes: number) => void
  /** At the first start and after every restart. */
  readonly onReady: (ready: CoreReady) => void
  readonly onMessage: (message: FromCore & { readonly kind: 'step' | 'refused' }) => void
  /** The core that served is gone, or the last attempt to replace it has failed. */
  readonly onDown: (reason: string) => void
  readonly watchdogLimits?: WatchdogLimits
}

const watchIntervalMs = 250
const inspectTimeoutMs = 5000
const minBackoffMs = 100
const maxBackoffMs = 10_000
/** Deaths that are longer ago neither slow a restart down nor count as a row. */
const memoryMs = 5 * 60_000
const maxFailedStarts = 2

interface PendingInspect {
  readonly resolve: (state: CoreState) => void
  readonly reject: (error: unknown) => void
}

/**
 * Keeps one core process alive: starts it, watches it, and replaces it when it dies or hangs. A
 * core that cannot be started twice in a row is given up, because a third try would end the same
 * way and `/health` should say so. The first start has no second try: its errors are the
 * operator's to read.
 */
export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #inspects = new Map<number, PendingInspect>()
  readonly #firstReady: Promise<CoreReady>
  #resolveFirstReady: (ready: CoreReady) => void = () => {}
  #rejectFirstReady: (error: unknown) => void = () => {}
  #state: SupervisorState = 'loading'
  #core: CoreProcess | undefined
  #watchdog: Watchdog | undefined
  #watchTimer: NodeJS.Timeout | undefined
  #restartTimer: NodeJS.Timeout | undefined
  #deathTimesMs: number[] = []
  #failedStartTimesMs: number[] = []
  #numRestarts = 0
  #lastInspectId = 0

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.#firstReady = new Promise((resolve, reject) => {
      this.#resolveFirstReady = resolve
      this.#rejectFirstReady = reject
    })
    // Whoever called `start` hears of it; nobody else has to.
    this.#firstReady.catch(() => {})
  }

  get state(): SupervisorState {
    return this.#state
  }

  get corePid(): number {
    return this.#core?.pid ?? -1
  }

  /** Cores that became ready after the first one. */
  get numRestarts(): number {
    return this.#numRestarts
  }

  /** Resolves when the first core is ready; rejects with engine_failed if it never is. */
  start(): Promise<CoreReady> {
    this.#startCore()
    return this.#firstReady
  }

  /** Only a core that is ready may be spoken to; the caller checks the state. */
  send(frame: Buffer): void {
    this.#core?.send(frame)
  }

  /** Asks the core what it is doing; a core that does not answer in five seconds is no answer. */
  inspect(): Promise<CoreState> {
    if (this.#state !== 'ready') return Promise.reject(modelLoading())
    const id = ++this.#lastInspectId
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#inspects.delete(id)
        reject(engineFailed(`The core gave no counts within ${inspectTimeoutMs} ms.`))
      }, inspectTimeoutMs)
      const settle =
        <Value>(callback: (value: Value) => void) =>
        (value: Value) => {
          clearTimeout(timer)
          this.#inspects.delete(id)
          callback(value)
        }
      this.#inspects.set(id, { resolve: settle(resolve), reject: settle(reject) })
      this.send(encodeInspect(id))
    })
  }

  /** Ends the core and starts no other. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    clearTimeout(this.#restartTimer)
    clearInterval(this.#watchTimer)
    this.#rejectFirstReady(engineFailed('The engine was closed before it was ready.'))
    await this.#core?.end()
  }

  #startCore(): void {
    const { entryPath, logger, spec } = this.#options
    const limits = this.#options.watchdogLimits ?? defaultWatchdogLimits
    this.#watchdog = new Watchdog(limits, performance.now())
    this.#core = new CoreProcess({
      entryPath,
      logger,
      onMessage: (message) => this.#receive(message),
      onExit: (reason) => this.#onExit(reason),
    })
    this.#core.send(encodeStart(spec))
    this.#watchTimer = setInterval(() => this.#watch(), watchIntervalMs)
    this.#watchTimer.unref()
  }

  #receive(message: FromCore): void {
    const nowMs = performance.now()
    this.#watchdog?.noteSign(nowMs)
    switch (message.kind) {
      case 'loading':
        this.#options.onLoading(message.numBytesDone, message.numBytes)
        break
      case 'ready':
        this.#onReady(message.ready)
        break
      case 'heartbeat':
        this.#watchdog?.noteHeartbeat(message.heartbeat, nowMs)
        break
      case 'state':
        this.#inspects.get(message.id)?.resolve(message.state)
        break
      case 'step':
        this.#watchdog?.noteStep(message.step, nowMs)
        this.#options.onMessage(message)
        break
      case 'refused':
        this.#options.onMessage(message)
    }
  }

  #onReady(ready: CoreReady): void {
    if (this.#state === 'closed') return
    if (ready.digest !== this.#options.spec.digest) {
      this.#core?.kill('it read other model files than the front')
      return
    }
    this.#watchdog?.noteReady(ready.warmUpMs, performance.now())
    if (this.#state === 'restarting') this.#numRestarts++
    this.#failedStartTimesMs = []
    this.#state = 'ready'
    this.#options.logger.info({ corePid: this.corePid }, 'The core is ready.')
    this.#options.onReady(ready)
    this.#resolveFirstReady(ready)
  }

  #watch(): void {
    const hang = this.#watchdog?.findHang(this.#options.hasWork(), performance.now())
    if (hang !== undefined) this.#core?.kill(`it was taken to hang: ${hang}`)
  }

  #onExit(reason: string): void {
    clearInterval(this.#watchTimer)
    this.#core = undefined
    for (const { reject } of this.#inspects.values()) {
      reject(engineFailed(`The core process ended: ${reason}.`))
    }
    if (this.#state === 'closed') return

    const wasReady = this.#state === 'ready'
    if (this.#state === 'loading') {
      this.#giveUp(reason)
    } else if (wasReady) {
      this.#options.logger.error({ reason }, 'The core process ended. A new one is started.')
      this.#restart()
      this.#options.onDown(reason)
    } else {
      this.#onFailedRestart(reason)
    }
  }

  #onFailedRestart(reason: string): void {
    const nowMs = performance.now()
    const recent = this.#failedStartTimesMs.filter((timeMs) => nowMs - timeMs < memoryMs)
    this.#failedStartTimesMs = [...recent, nowMs]
    if (this.#failedStartTimesMs.length >= maxFailedStarts) {
      this.#giveUp(reason)
      return
    }
    this.#options.logger.error({ reason }, 'The core process could not be started. One more try.')
    this.#restart()
  }

  #giveUp(reason: string): void {
    this.#state = 'failed'
    this.#options.logger.error({ reason }, 'The core process could not be started. It is given up.')
    this.#rejectFirstReady(engineFailed(`The model could not be started: ${reason}`))
    this.#options.onDown(reason)
  }

  /** The first death is answered at once; the more there were lately, the longer it takes. */
  #restart(): void {
    this.#state = 'restarting'
    const nowMs = performance.now()
    this.#deathTimesMs = this.#deathTimesMs.filter((timeMs) => nowMs - timeMs < memoryMs)
    const backoffMs = Math.min(maxBackoffMs, minBackoffMs * 2 ** this.#deathTimesMs.length)
    this.#deathTimesMs.push(nowMs)
    this.#restartTimer = setTimeout(() => this.#startCore(), backoffMs)
  }
}
