import type { ModelConfig } from '../model/model-description.js'
import type { MemoryNeeds } from './addon.js'

/** Tokens in a KV block: what scheduler, kernels and cache layout agree on. */
export const blockSize = 16

/** Share of the memory limit that the KV cache takes unless the operator says otherwise. */
const defaultKvShare = 0.25
/** More contexts than this at full length are rarely worth their memory. */
const defaultNumContexts = 4
/** A pool that holds less than this (or than one whole context) serves nobody. */
const minCacheTokens = 64

export type KvCacheType = 'float16' | 'float32' | 'bfloat16'

export interface MemoryRequest {
  readonly config: ModelConfig
  readonly kvCacheType: KvCacheType
  /** What the operator wants, null for the default. */
  readonly kvCacheBytes: number | null
  readonly memoryLimitBytes: number
}

export interface GpuMemoryRequest {
  readonly config: ModelConfig
  readonly kvCacheType: KvCacheType
  readonly kvCacheBytes: number | null
  readonly totalBytes: number
  /** Less than totalBytes where other programs hold some. */
  readonly freeBytes: number
  /** Share of totalBytes that this server may take. */
  readonly fraction: number
  /** Everything but the KV cache. */
  readonly needs: MemoryNeeds
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
  const minBlocks = minNumBlocks(config)
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
  return toPlan(config, numBlocks, bytesPerBlock)
}

/**
 * The same for a GPU: weights and workspace have their fixed sizes, and the cache gets what is left
 * of the share. Throws an Error with the numbers and what to lower if that is too little.
 */
export function planGpuMemory(request: GpuMemoryRequest): MemoryPlan {
  const { config, kvCacheType, needs, totalBytes, freeBytes, fraction } = request
  const bytesPerBlock = kvBlockBytes(config, kvCacheType)
  const fixedBytes = needs.weights + needs.workspace + needs.sampler
  const usableBytes = Math.min(freeBytes, Math.floor(totalBytes * fraction))
  const leftBytes = usableBytes - fixedBytes
  const wantedBytes = request.kvCacheBytes ?? leftBytes
  const numBlocks = Math.min(Math.floor(wantedBytes / bytesPerBlock), maxNumBlocks)
  const minBlocks = minNumBlocks(config)
  if (numBlocks < minBlocks || wantedBytes > leftBytes) {
    throw new Error(
      `The GPU has ${totalBytes} bytes of memory, ${freeBytes} of them free, and --gpu-memory-fraction ` +
        `allows ${Math.floor(totalBytes * fraction)}. Weights and workspace take ${fixedBytes}, and the ` +
        `KV cache needs ${Math.max(minBlocks * bytesPerBlock, request.kvCacheBytes ?? 0)} ` +
        `(${bytesPerBlock} for every ${blockSize} tokens in ${kvCacheType}). Lower --max-tokens-per-step, ` +
        '--max-sequences or --kv-cache-bytes, raise --gpu-memory-fraction, or take a smaller model.',
    )
  }
  return toPlan(config, numBlocks, bytesPerBlock)
}

/** Slots (block * blockSize + offset) are 32-bit integers. */
const maxNumBlocks = Math.floor((2 ** 31 - 1) / blockSize)

function minNumBlocks(config: ModelConfig): number {
  return Math.min(Math.ceil(config.maxContextLen / blockSize), minCacheTokens / blockSize)
}

function toPlan(config: ModelConfig, numBlocks: number, bytesPerBlock: number): MemoryPlan {
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
  const bytesPerValue = kvCacheType === 'float32' ? 4 : 2
  return config.numLayers * 2 * config.numKvHeads * blockSize * config.headDim * bytesPerValue
}
