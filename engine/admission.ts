import { serverOverloaded, tooManyQueuedTokens } from './errors.js'

export interface AdmissionLimits {
  /** Requests inside beyond those that can run at once: the queue that a client is told of. */
  readonly maxQueuedRequests: number
  /** Prompt tokens of requests that have not got their first token. */
  readonly maxQueuedTokens: number
}

/** One request inside. */
export interface Ticket {
  numQueuedTokens: number
  isInside: boolean
}

/**
 * Counts who is inside. Refusing costs nothing, so the queue is kept short enough that whoever is
 * let in can be served; a full queue is refused before a byte of the prompt is looked at.
 */
export class Admission {
  readonly #limits: AdmissionLimits
  /** Requests that the core can run at once; it says so when it is ready. */
  maxRunning = 0
  #numRequests = 0
  #numQueuedTokens = 0
  #onEmpty: (() => void)[] = []

  constructor(limits: AdmissionLimits) {
    this.#limits = limits
  }

  get numRequests(): number {
    return this.#numRequests
  }

  /** Throws server_overloaded when there is no room. */
  enter(): Ticket {
    const { maxQueuedRequests, maxQueuedTokens } = this.#limits
    if (this.#numRequests >= this.maxRunning + maxQueuedRequests) {
      throw serverOverloaded(this.#numRequests - this.maxRunning, maxQueuedRequests)
    }
    if (this.#numQueuedTokens >= maxQueuedTokens) {
      throw tooManyQueuedTokens(this.#numQueuedTokens, maxQueuedTokens)
    }
    this.#numRequests++
    return { numQueuedTokens: 0, isInside: true }
  }

  /** The prompt's length is known. A prompt that finds no other waiting is never too long here. */
  queueTokens(ticket: Ticket, numTokens: number): void {
    const { maxQueuedTokens } = this.#limits
    if (this.#numQueuedTokens > 0 && this.#numQueuedTokens + numTokens > maxQueuedTokens) {
      throw tooManyQueuedTokens(this.#numQueuedTokens, maxQueuedTokens)
    }
    ticket.numQueuedTokens = numTokens
    this.#numQueuedTokens += numTokens
  }

  /** Its first token is there: the prompt is worked off. */
  unqueueTokens(ticket: Ticket): void {
    this.#numQueuedTokens -= ticket.numQueuedTokens
    ticket.numQueuedTokens = 0
  }

  /** The request has ended, in whatever way. Harmless when called again. */
  leave(ticket: Ticket): void {
    if (!ticket.isInside) return
    ticket.isInside = false
    this.unqueueTokens(ticket)
    this.#numRequests--
    if (this.#numRequests > 0) return
    for (const resolve of this.#onEmpty) resolve()
    this.#onEmpty = []
  }

  /** Resolves when nobody is inside; false if the time is over first. */
  async waitUntilEmpty(timeoutMs: number): Promise<boolean> {
    if (this.#numRequests === 0) return true
    let timer: NodeJS.Timeout | undefined
    const isEmpty = await new Promise<boolean>((resolve) => {
      this.#onEmpty.push(() => resolve(true))
      timer = setTimeout(() => resolve(false), timeoutMs)
    })
    clearTimeout(timer)
    return isEmpty
  }
}
