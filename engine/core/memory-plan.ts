import type { ModelConfig } from '../model/model-description.js'

/** Tokens in a KV block: what scheduler, kernels and cache layout agree on. */
export const blockSize = 16

/** Share of the memory limit that the KV cache takes unless the operator says otherwise. */
const defaultKvShare = 0.25
/** More contexts than this at full length are rarely worth their memory. */
const defaultNumContexts = 4
/** A pool that holds less than this (or than one whole context) serves nobody. */
const minCacheTokens = 64

export type KvCacheType = 'float16' | 'float32'

export interface MemoryRequest {
  readonly config: ModelConfig
  readonly kvCacheType: KvCacheType
  /** What the operator wants, null for the default. */
  readonly kvCacheBytes: number | null
  readonly memoryLimitBytes: number
}

export interface MemoryPlan {
  readonly numBlocks: number
  /** numBlocks times the bytes of a block: never more than was asked for. */
  readonly kvCacheBytes: number
  /** Prompt and output of one sequence at most: the model's limit or the pool's. */
  readonly maxContextLen: number
  readonly maxBlocksPerSequence: number
}

/**
 * Divides the KV cache into blocks. Throws an Error with the numbers if not even one short sequence
 * fits: better at start than at the first request.
 */
export function planMemory(request: MemoryRequest): MemoryPlan {
  const { config, kvCacheType } = request
  const bytesPerBlock = kvBlockBytes(config, kvCacheType)
  const numContextBlocks = Math.ceil(config.maxContextLen / blockSize)
  const wantedBytes =
    request.kvCacheBytes ??
    Math.min(
      request.memoryLimitBytes * defaultKvShare,
      defaultNumContexts * numContextBlocks * bytesPerBlock,
    )

  const numBlocks = Math.floor(wantedBytes / bytesPerBlock)
  const minBlocks = Math.min(numContextBlocks, minCacheTokens / blockSize)
  if (numBlocks < minBlocks) {
    throw new Error(
      `The KV cache may take ${Math.floor(wantedBytes)} bytes, and this model needs at least ` +
        `${minBlocks * bytesPerBlock} (${bytesPerBlock} for every ${blockSize} tokens in ` +
        `${kvCacheType}). Give more with --kv-cache-bytes, or raise the memory limit, which is ` +
        `${request.memoryLimitBytes} bytes.`,
    )
  }
  if (numBlocks * bytesPerBlock > request.memoryLimitBytes) {
    throw new Error(
      `The KV cache is to take ${numBlocks * bytesPerBlock} bytes, and the memory limit of this ` +
        `process is ${request.memoryLimitBytes}. Lower --kv-cache-bytes.`,
    )
  }
  const maxContextLen = Math.min(config.maxContextLen, numBlocks * blockSize)
  return {
    numBlocks,
    kvCacheBytes: numBlocks * bytesPerBlock,
    maxContextLen,
    maxBlocksPerSequence: Math.ceil(maxContextLen / blockSize),
  }
}

/** K and V of `blockSize` tokens in all layers. */
export function kvBlockBytes(config: ModelConfig, kvCacheType: KvCacheType): number {
  const bytesPerValue = kvCacheType === 'float16' ? 2 : 4
  return config.numLayers * 2 * config.numKvHeads * blockSize * config.headDim * bytesPerValue
}
