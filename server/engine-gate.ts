import type { ServerResponse } from 'node:http'
import { engineGivenUp, modelLoading, shuttingDown } from '../engine/errors.js'
import type { Engine, EngineState } from '../engine/generate-request.js'

/**
 * The engine as the routes see it: not there yet while the model loads, and closed to new work once
 * the server drains. The port is taken before the model is loaded, so requests can come early.
 */
export class EngineGate {
  #engine: Engine | undefined
  #isDraining = false
  #numInFlight = 0
  #onIdle: (() => void)[] = []

  constructor(engine?: Engine) {
    this.#engine = engine
  }

  get state(): EngineState {
    if (this.#isDraining) return 'draining'
    return this.#engine?.state ?? 'loading'
  }

  /** The loaded engine, also while it drains or restarts. */
  get loaded(): Engine | undefined {
    return this.#engine
  }

  attach(engine: Engine): void {
    this.#engine = engine
  }

  /** From now on new work is refused; what was admitted goes on. */
  beginDrain(): void {
    this.#isDraining = true
  }

  /** The engine for a new request, or the EngineError that says why there is none. */
  admit(): Engine {
    if (this.#isDraining) throw shuttingDown()
    if (this.#engine === undefined) throw modelLoading()
    return this.#engine
  }

  /** Requests whose answers have not left this process completely. */
  get numInFlight(): number {
    return this.#numInFlight
  }

  /** Counts a request until the last byte of its answer is written, or its client is gone. */
  track(response: ServerResponse): void {
    if (response.destroyed) return
    this.#numInFlight++
    response.once('close', () => {
      this.#numInFlight--
      if (this.#numInFlight === 0) for (const resolve of this.#onIdle.splice(0)) resolve()
    })
  }

  /** Resolves when no request is being answered. */
  whenIdle(): Promise<void> {
    if (this.#numInFlight === 0) return Promise.resolve()
    return new Promise((resolve) => this.#onIdle.push(resolve))
  }

  /** Throws if the engine was given up: only a new process helps then. */
  requireAlive(): void {
    if (this.#engine?.state !== 'failed') return
    throw engineGivenUp()
  }

  /** Throws the EngineError that says why no request can be served now. */
  requireReady(): void {
    const { state } = this
    if (state === 'draining') throw shuttingDown()
    this.requireAlive()
    if (state !== 'ready') throw modelLoading()
  }
}
