import { serverOverloaded, tooManyQueuedTokens } from './errors.js'

export interface AdmissionLimits {
  /** Answers inside beyond those that can run at once: the queue that a client is told of. */
  readonly maxQueuedRequests: number
  /** Prompt tokens of requests that have not got their first token. */
  readonly maxQueuedTokens: number
}

/** One request inside. */
export interface Ticket {
  /** Choices that have not ended. */
  numSlots: number
  numQueuedTokens: number
  isInside: boolean
}

/**
 * Counts who is inside: requests, and slots, of which a request takes one for each of its choices.
 * Refusing costs nothing, so the queue is kept short enough that whoever is let in can be served; a
 * full queue is refused before a byte of the prompt is looked at.
 */
export class Admission {
  readonly #limits: AdmissionLimits
  /** Answers that the core can make at once; it says so when it is ready. */
  maxRunning = 0
  #numRequests = 0
  #numSlots = 0
  #numQueuedTokens = 0
  #onEmpty: (() => void)[] = []

  constructor(limits: AdmissionLimits) {
    this.#limits = limits
  }

  get numRequests(): number {
    return this.#numRequests
  }

  /** Throws server_overloaded when there is no room. A request alone always finds it. */
  enter(numSlots = 1): Ticket {
    const { maxQueuedRequests, maxQueuedTokens } = this.#limits
    const numAfter = this.#numSlots + numSlots
    if (this.#numSlots > 0 && numAfter > this.maxRunning + maxQueuedRequests) {
      const numQueued = Math.max(0, this.#numSlots - this.maxRunning)
      throw serverOverloaded(numQueued, maxQueuedRequests, numSlots)
    }
    if (this.#numQueuedTokens >= maxQueuedTokens) {
      throw tooManyQueuedTokens(this.#numQueuedTokens, maxQueuedTokens)
    }
    this.#numRequests++
    this.#numSlots = numAfter
    return { numSlots, numQueuedTokens: 0, isInside: true }
  }

  /**
   * The prompt's length is known; its choices share it. A prompt that finds no other waiting is
   * never too long here.
   */
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

  /** One of its choices has ended: the slot is free, the request may go on. */
  releaseSlot(ticket: Ticket): void {
    if (ticket.numSlots === 0) return
    ticket.numSlots--
    this.#numSlots--
  }

  /** The request has ended, in whatever way. Harmless when called again. */
  leave(ticket: Ticket): void {
    if (!ticket.isInside) return
    ticket.isInside = false
    this.unqueueTokens(ticket)
    this.#numSlots -= ticket.numSlots
    ticket.numSlots = 0
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
