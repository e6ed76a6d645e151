import { ModelFetchError } from './fetch-error.js'
import type { FetchTimeouts } from './fetch-settings.js'

/**
 * An abort signal with a clock that can be set anew, and that follows the caller's signal. (The
 * platform's AbortSignal.timeout cannot be restarted, and idleness is what a transfer is cut for.)
 */
export class Deadline {
  readonly #controller = new AbortController()
  readonly #parent: AbortSignal | undefined
  readonly #onParentAbort = () => this.#controller.abort(this.#parent?.reason)
  #timer: NodeJS.Timeout | undefined
  #hasPassed = false

  constructor(durationMs: number, parent?: AbortSignal) {
    this.#parent = parent
    if (parent?.aborted) this.#onParentAbort()
    parent?.addEventListener('abort', this.#onParentAbort, { once: true })
    this.restart(durationMs)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** The clock ran out: not the caller, not the network, ended this. */
  get hasPassed(): boolean {
    return this.#hasPassed
  }

  restart(durationMs: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#hasPassed = true
      this.#controller.abort()
    }, durationMs)
  }

  clear(): void {
    clearTimeout(this.#timer)
    this.#parent?.removeEventListener('abort', this.#onParentAbort)
  }
}

/**
 * One GET whose answer comes within `reachMs` and whose body never pauses longer than `idleMs`.
 * Every failure of the network is a ModelFetchError 'unreachable'; an abort by the caller's signal
 * passes through as its reason. Call close() when done, whatever happened.
 */
export class HttpGet {
  readonly response: Response
  readonly #url: string
  readonly #deadline: Deadline
  readonly #idleMs: number

  private constructor(url: string, response: Response, deadline: Deadline, idleMs: number) {
    this.#url = url
    this.response = response
    this.#deadline = deadline
    this.#idleMs = idleMs
  }

  static async open(
    url: string,
    headers: Readonly<Record<string, string>>,
    timeouts: FetchTimeouts,
    signal?: AbortSignal,
  ): Promise<HttpGet> {
    const deadline = new Deadline(timeouts.reachMs, signal)
    try {
      const response = await fetch(url, { headers, signal: deadline.signal })
      return new HttpGet(url, response, deadline, timeouts.idleMs)
    } catch (error) {
      deadline.clear()
      throw networkFailure(error, url, deadline, signal)
    }
  }

  /** The body, piece by piece. */
  async *chunks(signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    const { body } = this.response
    if (body === null) return
    try {
      this.#deadline.restart(this.#idleMs)
      for await (const chunk of body) {
        this.#deadline.restart(this.#idleMs)
        yield chunk
      }
    } catch (error) {
      throw networkFailure(error, this.#url, this.#deadline, signal)
    }
  }

  /** Ends the transfer if it still runs, and its clock. */
  close(): void {
    this.#deadline.clear()
    // An unread body keeps its connection; cancelling one that was read whole does nothing.
    this.response.body?.cancel().catch(() => {})
  }
}

/** What went wrong, in words a person can act on; the caller's own abort stays what it is. */
export function networkFailure(
  error: unknown,
  url: string,
  deadline: Deadline,
  signal: AbortSignal | undefined,
): unknown {
  if (signal?.aborted) return signal.reason
  if (error instanceof ModelFetchError) return error
  const { host } = new URL(url)
  if (deadline.hasPassed) {
    return new ModelFetchError('unreachable', `${host} did not answer in time.`, { cause: error })
  }
  const cause = (error as { cause?: { code?: string; message?: string } }).cause
  const code = cause?.code ?? (error as NodeJS.ErrnoException).code
  const reason = REASONS[code ?? ''] ?? cause?.message ?? (error as Error).message
  return new ModelFetchError('unreachable', `${host} cannot be reached: ${reason}.`, {
    cause: error,
  })
}

const REASONS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'its name is not known here',
  EAI_AGAIN: 'its name cannot be looked up',
  ECONNREFUSED: 'the connection was refused',
  ECONNRESET: 'the connection was cut',
  UND_ERR_SOCKET: 'the connection was cut',
  ENETUNREACH: 'there is no route to it',
  EHOSTUNREACH: 'there is no route to it',
  ETIMEDOUT: 'the connection timed out',
  UND_ERR_CONNECT_TIMEOUT: 'the connection timed out',
}
