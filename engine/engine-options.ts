import type { Engine } from './generate-request.js'
import type { Logger } from './logger.js'
import type { AdvisedSampling } from './model/catalog.js'
import type { GenerationDefaults } from './model/model-description.js'

/** What `startEngine` needs. Optional fields are for the engine to choose. */
export interface EngineOptions {
  /** A folder in the hub's layout, or a .gguf file. */
  readonly modelPath: string
  /** What clients call the model; its file or folder name by default. */
  readonly servedModelName?: string
  /** Physical cores by default. */
  readonly numThreads?: number
  readonly kvCacheType: 'float16' | 'float32'
  /** The smaller of a quarter of the memory and four full contexts by default. */
  readonly kvCacheBytes?: number
  readonly maxTokensPerStep: number
  /** Sequences in one step. */
  readonly maxSequences: number
  /** Admitted requests beyond maxSequences; the next one is refused. */
  readonly maxQueuedRequests: number
  /** Prompt tokens that wait for their first answer token; a prompt alone is always taken. */
  readonly maxQueuedTokens?: number
  /** For what neither a request nor the model's files say. */
  readonly advisedSampling?: AdvisedSampling
  readonly logger: Logger
  readonly onLoadProgress?: (numBytesDone: number, numBytes: number) => void
  /** Called when the core is ready, also after a restart. */
  readonly onMemoryPlan?: (plan: MemoryPlanReport) => void
}

/** Where the memory went, in bytes unless the name says otherwise. */
export interface MemoryPlanReport {
  /** What the control group (or the machine) allows. */
  readonly memoryLimitBytes: number
  readonly weightsBytes: number
  readonly kvCacheBytes: number
  readonly workspaceBytes: number
  readonly samplerBytes: number
  readonly numBlocks: number
  readonly blockSize: number
  /** Tokens that fit the KV blocks, over all sequences. */
  readonly numCacheTokens: number
  /** The longest sequence: the model's limit, or less where the pool holds less. */
  readonly maxContextLen: number
  readonly numThreads: number
  /** Which kernels run, for example 'avx2'. */
  readonly kernels: string
}

/**
 * An engine whose files are read and checked, and whose core is loading. A caller may listen on its
 * port at once: `state` says 'loading' and requests are refused with model_loading until `ready`.
 */
export interface StartedEngine extends Engine {
  /** Resolves when the first request can be served; rejects, with the state 'failed', if never. */
  readonly ready: Promise<void>
  /** What a request gets where it says nothing. */
  readonly generationDefaults: GenerationDefaults
}
