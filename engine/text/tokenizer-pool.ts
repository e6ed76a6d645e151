import { Worker } from 'node:worker_threads'
import {
  contextLengthExceeded,
  EngineError,
  engineFailed,
  engineGivenUp,
  invalidPrompt,
  serverOverloaded,
  shuttingDown,
} from '../errors.js'
import type { ChatMessage } from '../generate-request.js'
import type { Logger } from '../logger.js'
import { ModelFileError, type TextAssets } from '../model/model-description.js'
import { buildTokenTable } from './token-table.js'
import type { TokenizerJob, TokenizerReply, TokenizerWorkerData } from './tokenizer-worker.js'

export interface TokenizerPoolOptions {
  /** Threads; each holds its own copy of the vocabulary. */
  readonly numWorkers: number
  readonly maxContextLen: number
  readonly logger: Logger
  /** Jobs that may wait for a thread. Default 1024. */
  readonly maxQueuedJobs?: number
  /**
   * What one prompt may take before its thread is replaced and it is refused. The default is 2000,
   * and more for contexts above 32,768 tokens, in proportion.
   */
  readonly jobTimeoutMs?: number
  /** JavaScript heap of a thread. Default 1024. */
  readonly maxWorkerHeapMb?: number
}

const DEFAULT_MAX_QUEUED_JOBS = 1024
const MIN_JOB_TIMEOUT_MS = 2000
const TOKENS_PER_TIMEOUT_MS = 16
const LOAD_TIMEOUT_MS = 60_000
/** Threads that end before they are ready, this many in a row, end the pool. */
const MAX_FAILED_STARTS = 3
/** A prompt of 4 MiB takes 150 to 1200 MB, less than half of it heap; a vocabulary 100 MB. */
const DEFAULT_WORKER_HEAP_MB = 1024

type JobInput =
  | { readonly kind: 'chat'; readonly messages: readonly ChatMessage[] }
  | { readonly kind: 'text'; readonly text: string }

interface PendingJob {
  readonly job: TokenizerJob
  readonly resolve: (tokenIds: Int32Array) => void
  readonly reject: (error: unknown) => void
}

/**
 * Renders and tokenizes prompts in worker threads, so that a long one never blocks the event loop.
 *
 * Everything is bounded: a prompt that cannot fit the context is refused by its length alone, the
 * queue by `maxQueuedJobs`, and a job by `jobTimeoutMs`: its thread is ended and a new one started.
 */
export class TokenizerPool {
  readonly #assets: SharedArrayBuffer
  readonly #maxContextLen: number
  readonly #longestTokenBytes: number
  readonly #showsReasoning: boolean
  readonly #showsToolCalls: boolean
  readonly #maxQueuedJobs: number
  readonly #jobTimeoutMs: number
  readonly #maxHeapMb: number
  readonly #logger: Logger
  readonly #queue: PendingJob[] = []
  readonly #slots: WorkerSlot[] = []
  #nextId = 1
  #failure: EngineError | undefined

  private constructor(assets: TextAssets, options: TokenizerPoolOptions) {
    const json = Buffer.from(JSON.stringify(assets), 'utf8')
    this.#assets = new SharedArrayBuffer(json.length)
    new Uint8Array(this.#assets).set(json)
    this.#maxContextLen = options.maxContextLen
    this.#longestTokenBytes = Math.max(1, buildTokenTable(assets).longestTokenBytes)
    this.#showsReasoning = assets.chatTemplate?.includes('reasoning_content') ?? false
    this.#showsToolCalls = assets.chatTemplate?.includes('tool_calls') ?? false
    this.#maxQueuedJobs = options.maxQueuedJobs ?? DEFAULT_MAX_QUEUED_JOBS
    this.#jobTimeoutMs = options.jobTimeoutMs ?? defaultJobTimeoutMs(options.maxContextLen)
    this.#logger = options.logger
    this.#maxHeapMb = options.maxWorkerHeapMb ?? DEFAULT_WORKER_HEAP_MB
  }

  /** Starts the threads and waits for them. Rejects where tokenizer or template are refused. */
  static async create(assets: TextAssets, options: TokenizerPoolOptions): Promise<TokenizerPool> {
    const pool = new TokenizerPool(assets, options)
    try {
      await Promise.all(Array.from({ length: options.numWorkers }, () => pool.#addSlot()))
    } catch (error) {
      await pool.close()
      throw error
    }
    return pool
  }

  /** Its threads could not be started any more: it refuses everything from now on. */
  get isBroken(): boolean {
    return this.#failure?.code === 'engine_failed'
  }

  /**
   * Renders the chat template over the messages and tokenizes the result. What users wrote never
   * becomes a control token. Rejects with invalid_template_input, context_length_exceeded,
   * invalid_prompt, server_overloaded or engine_failed, or with the signal's reason.
   */
  encodeChat(messages: readonly ChatMessage[], signal: AbortSignal): Promise<Int32Array> {
    const numBytes = messages.reduce((sum, message) => sum + this.#byteLengthOf(message), 0)
    return this.#run({ kind: 'chat', messages }, numBytes, signal)
  }

  /** What a template does not know never gets into the prompt, so it must refuse none. */
  #byteLengthOf({ content, reasoning = '', toolCalls = [] }: ChatMessage): number {
    let numBytes = byteLength(content ?? '')
    if (this.#showsReasoning) numBytes += byteLength(reasoning)
    if (!this.#showsToolCalls) return numBytes
    return toolCalls.reduce((sum, call) => sum + byteLength(call.arguments), numBytes)
  }

  /** Tokenizes a text with the BOS that the tokenizer asks for. Rejects as encodeChat does. */
  encodeText(text: string, signal: AbortSignal): Promise<Int32Array> {
    return this.#run({ kind: 'text', text }, byteLength(text), signal)
  }

  async close(): Promise<void> {
    this.#failure ??= shuttingDown()
    for (const pending of this.#queue.splice(0)) pending.reject(this.#failure)
    await Promise.all(this.#slots.map((slot) => slot.close(shuttingDown())))
  }

  async #run(input: JobInput, numBytes: number, signal: AbortSignal): Promise<Int32Array> {
    signal.throwIfAborted()
    if (this.#failure !== undefined) throw this.#failure
    this.#checkByteLength(numBytes)
    const tokenIds = await this.#enqueue({ id: this.#nextId++, ...input }, signal)
    // One more token must fit, or there is nothing to generate.
    if (tokenIds.length >= this.#maxContextLen) {
      throw contextLengthExceeded(tokenIds.length, this.#maxContextLen)
    }
    return tokenIds
  }

  /** No token is longer than the longest, so the bytes alone may say that a prompt cannot fit. */
  #checkByteLength(numBytes: number): void {
    const minTokens = Math.ceil(numBytes / this.#longestTokenBytes)
    if (minTokens < this.#maxContextLen) return
    throw new EngineError(
      'context_length_exceeded',
      `This model's maximum context length is ${this.#maxContextLen} tokens and the prompt has ` +
        `${numBytes} bytes, which are at least ${minTokens} tokens. Shorten it.`,
      { n_prompt_tokens: minTokens, n_ctx: this.#maxContextLen },
    )
  }

  #enqueue(job: TokenizerJob, signal: AbortSignal): Promise<Int32Array> {
    if (this.#queue.length >= this.#maxQueuedJobs) {
      throw serverOverloaded(this.#queue.length, this.#maxQueuedJobs)
    }
    return new Promise((resolve, reject) => {
      const pending: PendingJob = {
        job,
        resolve: (tokenIds) => {
          signal.removeEventListener('abort', onAbort)
          resolve(tokenIds)
        },
        reject: (error) => {
          signal.removeEventListener('abort', onAbort)
          reject(error)
        },
      }
      const onAbort = () => {
        const place = this.#queue.indexOf(pending)
        if (place >= 0) this.#queue.splice(place, 1)
        // A job under way runs to its end, at most the time budget; nobody waits for it.
        reject(signal.reason)
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#queue.push(pending)
      this.#dispatch()
    })
  }

  #dispatch(): void {
    for (const slot of this.#slots) {
      if (this.#queue.length === 0) return
      if (slot.isIdle) slot.run(this.#queue.shift()!)
    }
  }

  async #addSlot(): Promise<void> {
    const slot = new WorkerSlot({
      workerData: { assets: this.#assets },
      jobTimeoutMs: this.#jobTimeoutMs,
      maxHeapMb: this.#maxHeapMb,
      logger: this.#logger,
      onIdle: () => this.#dispatch(),
      onBroken: (error) => {
        this.#failure ??= error
        for (const pending of this.#queue.splice(0)) pending.reject(error)
      },
    })
    this.#slots.push(slot)
    await slot.start()
  }
}

interface SlotOptions {
  readonly workerData: TokenizerWorkerData
  readonly jobTimeoutMs: number
  readonly maxHeapMb: number
  readonly logger: Logger
  readonly onIdle: () => void
  readonly onBroken: (error: EngineError) => void
}

/** One place of the pool: a thread, replaced when it overruns its time or dies. */
class WorkerSlot {
  readonly #options: SlotOptions
  #worker: Worker | undefined
  #isReady = false
  #isClosed = false
  #current: PendingJob | undefined
  #timer: NodeJS.Timeout | undefined
  #numFailedStarts = 0

  constructor(options: SlotOptions) {
    this.#options = options
  }

  get isIdle(): boolean {
    return this.#isReady && this.#current === undefined
  }

  /** Resolves once the thread has loaded its assets; rejects with what stopped it. */
  start(): Promise<void> {
    const worker = new Worker(new URL('./tokenizer-worker.js', import.meta.url), {
      workerData: this.#options.workerData,
      resourceLimits: { maxOldGenerationSizeMb: this.#options.maxHeapMb },
    })
    this.#worker = worker
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(engineFailed(`A tokenizer thread did not start within ${LOAD_TIMEOUT_MS} ms.`))
        void worker.terminate()
      }, LOAD_TIMEOUT_MS)
      worker.on('message', (reply: TokenizerReply) => {
        if (reply.kind === 'unusable') return reject(toModelFileError(reply.message))
        if (reply.kind !== 'ready') return this.#finish(reply)
        clearTimeout(timer)
        this.#isReady = true
        this.#numFailedStarts = 0
        resolve()
        this.#options.onIdle()
      })
      // What ended the thread (memory, mostly) is followed by its exit, which is handled below.
      worker.on('error', reject)
      worker.on('exit', () => {
        clearTimeout(timer)
        reject(engineFailed('A tokenizer thread ended while it started.'))
        this.#replace()
      })
    })
  }

  run(pending: PendingJob): void {
    this.#current = pending
    this.#timer = setTimeout(() => {
      const { jobTimeoutMs } = this.#options
      // No more jobs for this thread: its place is free once the next one is ready.
      this.#isReady = false
      this.#settle()?.reject(
        invalidPrompt(
          `The prompt took more than ${jobTimeoutMs} ms to tokenize. Shorten it, or break up long ` +
            'runs without spaces.',
        ),
      )
      void this.#worker?.terminate()
    }, this.#options.jobTimeoutMs)
    this.#worker!.postMessage(pending.job)
  }

  async close(error: EngineError): Promise<void> {
    this.#isClosed = true
    this.#isReady = false
    this.#settle()?.reject(error)
    await this.#worker?.terminate()
  }

  #finish(reply: TokenizerReply): void {
    // The answer to a job that was given up in the meantime.
    if (!('id' in reply) || reply.id !== this.#current?.job.id) return
    const pending = this.#settle()!
    if (reply.kind === 'done') pending.resolve(reply.tokenIds)
    else if (reply.kind === 'refused') pending.reject(new EngineError(reply.code, reply.message))
    else {
      this.#options.logger.error({ reason: reply.reason }, 'A prompt could not be tokenized.')
      pending.reject(engineFailed('The prompt could not be tokenized: a fault in this server.'))
    }
    this.#options.onIdle()
  }

  #settle(): PendingJob | undefined {
    clearTimeout(this.#timer)
    const pending = this.#current
    this.#current = undefined
    return pending
  }

  /** Starts a new thread in place of one that has ended. */
  #replace(): void {
    this.#isReady = false
    this.#settle()?.reject(
      invalidPrompt('The prompt needs more memory to tokenize than is allowed. Shorten it.'),
    )
    if (this.#isClosed) return
    if (++this.#numFailedStarts > MAX_FAILED_STARTS) {
      this.#isClosed = true
      this.#options.logger.error({}, 'The tokenizer threads cannot be started any more.')
      this.#options.onBroken(engineGivenUp())
      return
    }
    this.start().catch(() => {
      // Its exit starts the next one, or ends the pool.
    })
  }
}

/** The same error as in the thread; classes do not survive the way between threads. */
function toModelFileError(message: string): ModelFileError {
  const [, path = 'tokenizer', field = 'file', rest = message] =
    /^(.*?): (.*?): (.*)$/s.exec(message) ?? []
  return new ModelFileError(path, field, rest)
}

function defaultJobTimeoutMs(maxContextLen: number): number {
  return Math.max(MIN_JOB_TIMEOUT_MS, Math.ceil(maxContextLen / TOKENS_PER_TIMEOUT_MS))
}

function byteLength(text: string): number {
  return Buffer.byteLength(text, 'utf8')
}
