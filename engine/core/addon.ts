import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import type { CpuFeatures, CudaStatus, Dtype } from '../machine.js'
import type { ModelConfig, TensorRef } from '../model/model-description.js'

/** The native addon, whole. Nothing else loads it; these types are the border to C++. */
export interface Addon {
  cpuFeatures(): CpuFeatures
  /** Threads the pool takes by default: physical cores the process may use. */
  defaultNumThreads(): number
  /** What CUDA finds on this machine. Never throws: what is wrong is `fault`. */
  cudaStatus(): CudaStatus
  /**
   * Bytes that a model takes on its device beside the KV cache; spec.numBlocks is not read. For
   * device 'cuda' alone: there the pool gets what is left. Throws as loadModel rejects.
   */
  memoryNeeds(spec: NativeModelSpec): MemoryNeeds
  /**
   * Maps the files, repacks every weight, takes all memory. Rejects with an Error that names the
   * tensor, the value and the limit. `onProgress` gets bytes done, at most 50 times a second.
   */
  loadModel(spec: NativeModelSpec, onProgress: (numBytesDone: number) => void): Promise<NativeModel>
}

export interface MemoryNeeds {
  readonly weights: number
  readonly workspace: number
  readonly sampler: number
}

export interface NativeModelSpec {
  readonly device: 'cpu' | 'cuda'
  /** The four fields for CUDA are ignored on the CPU. */
  readonly dtype: Dtype
  readonly numerics: 'reference' | 'fast'
  readonly isBatchInvariant: boolean
  readonly useGraphs: boolean
  readonly config: ModelConfig
  readonly files: readonly { readonly path: string; readonly byteLength: number }[]
  readonly tensors: readonly TensorRef[]
  readonly numThreads: number
  readonly numBlocks: number
  readonly blockSize: number
  /** On the CPU. */
  readonly kvCacheType: 'float16' | 'float32'
  readonly maxTokensPerStep: number
  readonly maxSequences: number
  readonly maxBlocksPerSequence: number
  /** Sparse logit adjustments a step may carry. */
  readonly maxAdjustments: number
}

/**
 * A loaded model. Two steps may be in flight: `step` may be called again before the promise of the
 * last call has settled, and promises settle in order.
 */
export interface NativeModel {
  /**
   * Two batches that alternate: step n reads stepBatches[n % 2], counted from 0, which may be written
   * once step n - 2 has settled.
   */
  readonly stepBatches: readonly [StepBatchViews, StepBatchViews]
  /** Bytes by purpose: weights, kvCache, workspace, sampler. */
  readonly memory: Readonly<Record<'weights' | 'kvCache' | 'workspace' | 'sampler', number>>
  /**
   * Runs one step over the next batch and resolves when its results are in the views. Decodes come
   * first: sequences [0, numDecodes) have one token each. Rejects only on a broken invariant, with
   * view, index, value and limit; then nothing was computed and the same batch is the next again.
   * A step that was called while the one before it was in flight rejects with it, and the batch of
   * the first of the two is the next. An Error with the code 'ERR_CUDA' names a call of CUDA that
   * failed: the device is lost to this process, which must end.
   */
  step(numSequences: number, numTokens: number, numDecodes: number): Promise<void>
  /**
   * Sets the token counts the penalties read: which ids the prompt holds, how often the output
   * has each. tokenIds[0, numPromptTokens) is the prompt. Called at admission and after
   * preemption, for sequences with a penalty; nobody else's counts are read. The ids are copied; it
   * takes effect before the next step called, and no step in flight may use the slot.
   */
  fillSamplerSlot(slot: number, tokenIds: Int32Array, numPromptTokens: number): void
  close(): void
}

/**
 * Typed arrays over native memory; lengths in architecture.md, "TypeScript to C++".
 * A result of NaN logits is sampledTokenIds[i] = -1: that sequence fails, alone.
 */
export interface StepBatchViews {
  // per token, maxTokensPerStep; a token id of -1 - r is what the step before samples in row r
  readonly tokenIds: Int32Array
  readonly positions: Int32Array
  readonly slotMapping: Int32Array
  // per sequence, maxSequences (queryStarts one more; blockTables x maxBlocksPerSequence)
  readonly samplerSlots: Int32Array
  readonly sampleRows: Uint8Array
  readonly queryStarts: Int32Array
  readonly contextLens: Int32Array
  readonly blockTables: Int32Array
  readonly temperatures: Float32Array
  readonly topPs: Float32Array
  readonly minPs: Float32Array
  readonly repetitionPenalties: Float32Array
  readonly frequencyPenalties: Float32Array
  readonly presencePenalties: Float32Array
  readonly topKs: Int32Array
  readonly choices: Int32Array
  readonly seedsLow: Uint32Array
  readonly seedsHigh: Uint32Array
  // adjustments: biasStarts maxSequences + 1, the others maxAdjustments
  readonly biasStarts: Int32Array
  readonly biasTokenIds: Int32Array
  readonly biasValues: Float32Array
  /** Whole KV blocks copied before anything else, in pairs: source, destination. 2 x maxSequences. */
  readonly blockCopies: Int32Array
  /** Pairs in blockCopies; length 1. */
  readonly numBlockCopies: Int32Array
  // results, per sequence; 0 where sampleRows is 0
  readonly sampledTokenIds: Int32Array
}

/** Loads the addon; the only place that knows where the file is. Throws when it is not built. */
export function loadAddon(): Addon {
  // dist/engine/core/addon.js -> the project's root
  const path = fileURLToPath(new URL('../../../build/native/Release/kvasir.node', import.meta.url))
  try {
    return createRequire(import.meta.url)(path) as Addon
  } catch (error) {
    const [reason] = (error as Error).message.split('\n')
    const hint = 'Run "npm run build", which makes it for this machine.'
    throw new Error(`The native addon cannot be loaded: ${reason}. ${hint}`, { cause: error })
  }
}
