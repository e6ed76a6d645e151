import type { DeviceRequest, DtypeRequest } from './frames-to-core.js'
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
  /** `auto` takes a GPU where there is one that can be used. */
  readonly device: DeviceRequest
  /** On a GPU. `auto` keeps 16-bit weights as they are and makes others bfloat16. */
  readonly dtype: DtypeRequest
  /** On a GPU: whether it rounds where PyTorch does, or less often. */
  readonly numerics: 'reference' | 'fast'
  /** On a GPU: whether an answer's bits are independent of what else runs. */
  readonly isBatchInvariant: boolean
  readonly useGraphs: boolean
  /** Share of the GPU's memory to use, above 0 and at most 1. */
  readonly gpuMemoryFraction: number
  /** On the CPU. */
  readonly kvCacheType: 'float16' | 'float32'
  /** By default the smaller of a quarter of the memory and four contexts; on a GPU what is left. */
  readonly kvCacheBytes?: number
  /** 512 by default, on a GPU 8192. */
  readonly maxTokensPerStep?: number
  /** Sequences in one step: 64 by default, on a GPU 256. */
  readonly maxSequences?: number
  /** 2 plans a step while the one before runs; 1 is the plain loop, the reference. */
  readonly maxStepsInFlight: 1 | 2
  /** Milliseconds a step with decodes may take; prompts get what fits beside them. */
  readonly maxStepMs?: number
  /** Milliseconds a request may wait before it begins. */
  readonly maxQueueMs?: number
  /** Share of the KV blocks that one tenant's unused prefixes may keep from others; above 0. */
  readonly tenantCacheShare: number
  /** Where the core writes a trace of every step. */
  readonly tracePath?: string
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
  readonly device: 'cpu' | 'cuda'
  /** Of a value in the KV cache: 'float16'. */
  readonly cacheType: string
  /** What the control group (or the machine) allows, or --gpu-memory-fraction of the GPU. */
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
