import { statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Admission, type Ticket } from './admission.js'
import type { EngineOptions, StartedEngine } from './engine-options.js'
import { EngineError, engineFailed, engineGivenUp, modelLoading, shuttingDown } from './errors.js'
import type { CoreReady, FromCore } from './frames-from-core.js'
import { encodeAbort } from './frames-to-core.js'
import type {
  EngineSnapshot,
  EngineState,
  GenerateRequest,
  Generation,
  ModelCard,
  Prompt,
} from './generate-request.js'
import { GenerationText } from './generation-text.js'
import { LiveGeneration } from './live-generation.js'
import type { GenerationDefaults, ModelDescription } from './model/model-description.js'
import { openModel } from './model/open-model.js'
import { makeSubmission } from './submission.js'
import { Supervisor } from './supervisor.js'
import { tokenizerFromGguf } from './text/gguf-tokenizer.js'
import { buildTokenTable, type TokenTable } from './text/token-table.js'
import { TokenizerPool } from './text/tokenizer-pool.js'
import { beginTrace, endTrace } from './trace-file.js'

/** One long prompt must not hold up all others; each thread has its own copy of the vocabulary. */
const numTokenizerThreads = 2
const minQueuedTokens = 262_144

/**
 * Reads and checks the model's files, then starts the core and the tokenizer threads without
 * waiting for them. Rejects with a ModelFileError when a file is broken: no process was started.
 */
export async function startEngine(options: EngineOptions): Promise<StartedEngine> {
  const description = await openModel(options.modelPath, { tokenizerFromGguf })
  if (options.tracePath !== undefined) beginTrace(options.tracePath)
  return new CoreEngine(
    options,
    description,
    fileURLToPath(new URL('core/main.js', import.meta.url)),
  )
}

/** The engine over one core process. Everything that is text happens on this side of it. */
export class CoreEngine implements StartedEngine {
  readonly ready: Promise<void>
  readonly generationDefaults: GenerationDefaults
  readonly #options: EngineOptions
  readonly #description: ModelDescription
  readonly #tokenTable: TokenTable
  readonly #supervisor: Supervisor
  readonly #admission: Admission
  /** Every sequence that the core has, or will have as soon as there is one, by id. */
  readonly #live = new Map<number, LiveGeneration>()
  readonly #created: number
  #tokenizers: TokenizerPool | undefined
  #maxContextLen: number
  #maxSequences: number | undefined
  #lastId = 0
  #isDraining = false
  #hasFailed = false
  #closing: Promise<void> | undefined

  constructor(options: EngineOptions, description: ModelDescription, corePath: string) {
    this.#options = options
    this.#description = description
    this.generationDefaults = { ...options.advisedSampling, ...description.generation }
    this.#tokenTable = buildTokenTable(description.text)
    this.#maxContextLen = description.config.maxContextLen
    this.#created = modifiedAt(description)
    this.#admission = new Admission({
      maxQueuedRequests: options.maxQueuedRequests,
      maxQueuedTokens: options.maxQueuedTokens ?? Math.max(minQueuedTokens, this.#maxContextLen),
    })
    this.#supervisor = this.#makeSupervisor(corePath)
    this.ready = this.#start()
    // Whoever waits for it hears of it; `state` says the same to everybody else.
    this.ready.catch(() => {})
  }

  get model(): ModelCard {
    return {
      id: this.#options.servedModelName ?? this.#description.name,
      created: this.#created,
      maxContextLen: this.#maxContextLen,
      vocabSize: this.#description.config.vocabSize,
      maxSequences: this.#maxSequences,
    }
  }

  get state(): EngineState {
    if (this.#isDraining) return 'draining'
    const { state } = this.#supervisor
    // Without tokenizers every chat fails, however well the core is.
    const isBroken = this.#hasFailed || this.#tokenizers?.isBroken === true
    if (isBroken || state === 'closed') return 'failed'
    return this.#tokenizers === undefined && state === 'ready' ? 'loading' : state
  }

  async generate(request: GenerateRequest, signal: AbortSignal): Promise<Generation> {
    signal.throwIfAborted()
    this.#requireReady()
    const ticket = this.#admission.enter(request.numChoices)
    try {
      const promptTokenIds = await this.#encode(request.prompt, signal)
      signal.throwIfAborted()
      return this.#submit(request, promptTokenIds, ticket, signal)
    } catch (error) {
      this.#admission.leave(ticket)
      throw error
    }
  }

  async inspect(): Promise<EngineSnapshot> {
    const state = await this.#supervisor.inspect()
    const { corePid, numRestarts } = this.#supervisor
    return { ...state, corePid, numCoreRestarts: numRestarts }
  }

  async drain(timeoutMs: number): Promise<{ readonly numUnfinished: number }> {
    this.#isDraining = true
    await this.#admission.waitUntilEmpty(timeoutMs)
    const numUnfinished = this.#admission.numRequests
    const message = `The server shut down before this answer was finished.`
    this.#failAll(new EngineError('shutting_down', message))
    await this.close()
    return { numUnfinished }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#isDraining = true
    this.#failAll(shuttingDown())
    await Promise.all([this.#supervisor.close(), this.#tokenizers?.close()])
    const { tracePath } = this.#options
    if (tracePath !== undefined) endTrace(tracePath)
  }

  #makeSupervisor(corePath: string): Supervisor {
    const options = this.#options
    return new Supervisor({
      entryPath: corePath,
      spec: {
        modelPath: options.modelPath,
        digest: this.#description.digest,
        device: options.device,
        dtype: options.dtype,
        numerics: options.numerics,
        isBatchInvariant: options.isBatchInvariant,
        useGraphs: options.useGraphs,
        gpuMemoryFraction: options.gpuMemoryFraction,
        kvCacheType: options.kvCacheType,
        kvCacheBytes: options.kvCacheBytes ?? null,
        numThreads: options.numThreads ?? null,
        maxTokensPerStep: options.maxTokensPerStep ?? null,
        maxSequences: options.maxSequences ?? null,
        maxStepsInFlight: options.maxStepsInFlight,
        maxStepMs: options.maxStepMs ?? null,
        maxQueueMs: options.maxQueueMs ?? null,
        tenantCacheShare: options.tenantCacheShare,
        tracePath: options.tracePath ?? null,
      },
      logger: options.logger,
      hasWork: () => this.#live.size > 0,
      onLoading: (numBytesDone, numBytes) => options.onLoadProgress?.(numBytesDone, numBytes),
      onReady: (ready) => this.#onCoreReady(ready),
      onMessage: (message) => this.#receive(message),
      onDown: () => this.#onCoreDown(),
    })
  }

  /** Core and tokenizers start side by side; neither is of use without the other. */
  async #start(): Promise<void> {
    const pool = TokenizerPool.create(this.#description.text, {
      numWorkers: numTokenizerThreads,
      maxContextLen: this.#maxContextLen,
      logger: this.#options.logger,
    })
    try {
      const [tokenizers] = await Promise.all([pool, this.#supervisor.start()])
      this.#tokenizers = tokenizers
      if (this.#closing !== undefined) await tokenizers.close()
    } catch (error) {
      this.#hasFailed = true
      const closePool = pool.then((tokenizers) => tokenizers.close()).catch(() => {})
      await Promise.all([this.#supervisor.close(), closePool])
      throw error
    }
  }

  #requireReady(): void {
    const { state } = this
    if (state === 'draining') throw shuttingDown()
    if (state === 'failed') throw engineGivenUp()
    if (state !== 'ready') throw modelLoading()
  }

  #encode(prompt: Prompt, signal: AbortSignal): Promise<Int32Array> | Int32Array {
    const tokenizers = this.#tokenizers!
    switch (prompt.kind) {
      case 'chat':
        return tokenizers.encodeChat(prompt.messages, signal)
      case 'text':
        return tokenizers.encodeText(prompt.text, signal)
      case 'tokens':
        return prompt.tokenIds
    }
  }

  #submit(
    request: GenerateRequest,
    promptTokenIds: Int32Array,
    ticket: Ticket,
    signal: AbortSignal,
  ): Generation {
    // A prompt took its time, and meanwhile everything may have ended.
    if (this.#closing !== undefined) throw shuttingDown()
    if (this.state === 'failed') throw engineGivenUp()
    const submission = makeSubmission(this.#lastId + 1, request, promptTokenIds, {
      generation: this.generationDefaults,
      vocabSize: this.#description.config.vocabSize,
      maxContextLen: this.#maxContextLen,
    })
    this.#admission.queueTokens(ticket, promptTokenIds.length)
    this.#lastId += submission.numChoices

    const { stopStrings = [] } = request.stop
    const onAbort = () => generation.cancel(signal.reason)
    const generation = new LiveGeneration(submission, {
      makeText: () => new GenerationText(this.#tokenTable, stopStrings, submission.minTokens),
      onFirstToken: () => this.#admission.unqueueTokens(ticket),
      onChoiceEnd: (id, isCoreDone) => {
        this.#live.delete(id)
        this.#admission.releaseSlot(ticket)
        // A core that is only starting was never given it, and takes no abort for the front's error.
        const isWithCore = !isCoreDone && this.#supervisor.state === 'ready'
        if (isWithCore) this.#supervisor.send(encodeAbort(id))
      },
      onEnd: () => {
        signal.removeEventListener('abort', onAbort)
        this.#admission.leave(ticket)
      },
    })
    signal.addEventListener('abort', onAbort, { once: true })
    for (let i = 0; i < submission.numChoices; i++) this.#live.set(submission.id + i, generation)
    // Between two cores it waits for the next one.
    if (this.#supervisor.state === 'ready') this.#supervisor.send(generation.takeSubmitFrame())
    return generation
  }

  #onCoreReady(ready: CoreReady): void {
    this.#maxContextLen = ready.maxContextLen
    this.#maxSequences = ready.maxSequences
    this.#admission.maxRunning = ready.maxSequences
    this.#options.onMemoryPlan?.({
      ...ready,
      numCacheTokens: ready.numBlocks * ready.blockSize,
    })
    for (const generation of this.#liveGenerations()) {
      this.#supervisor.send(generation.takeSubmitFrame())
    }
  }

  /** Whoever has seen a part of an answer is told; the others wait for the next core, once. */
  #onCoreDown(): void {
    const canRestart = this.#supervisor.state === 'restarting'
    // The reason may name files: it is in the log, and no client's business.
    const error = canRestart
      ? engineFailed('The process that ran the model ended during this request.')
      : engineGivenUp()
    for (const generation of this.#liveGenerations()) {
      if (canRestart && generation.canBeResubmitted) continue
      generation.fail(error)
    }
  }

  #receive(message: FromCore & { readonly kind: 'step' | 'refused' }): void {
    if (message.kind === 'refused') {
      this.#live.get(message.id)?.fail(engineFailed(message.message))
      return
    }
    const { ids, tokenIds, finishes, numCachedTokens } = message.step
    for (let i = 0; i < ids.length; i++) {
      // An answer that was ended here may get one more token before the core hears of it.
      const generation = this.#live.get(ids[i]!)
      generation?.receiveToken(ids[i]!, tokenIds[i]!, finishes[i]!, numCachedTokens[i]!)
    }
  }

  #failAll(error: EngineError): void {
    for (const generation of this.#liveGenerations()) generation.fail(error)
  }

  /** Each once, however many choices of it live; a list, because some end while it is read. */
  #liveGenerations(): readonly LiveGeneration[] {
    return [...new Set(this.#live.values())]
  }
}

/** When the weights were written: it stays the same from start to start. */
function modifiedAt(description: ModelDescription): number {
  return Math.floor(statSync(description.files[0]!.path).mtimeMs / 1000)
}
