import { assert } from './assert.js'

/** What the scheduler may use. Fixed for its life. */
export interface SchedulerLimits {
  /** Tokens in a KV block. */
  readonly blockSize: number
  /** KV blocks in the pool. */
  readonly numBlocks: number
  /** New tokens a step computes at most, decodes and prefill chunks together. */
  readonly maxTokensPerStep: number
  /** Sampler slots; sequences that run at once at most. */
  readonly maxSequences: number
  /** Prompt and output of one sequence at most. */
  readonly maxContextLen: number
  /** An integer below 2^53 that clients cannot know; it only steers where prefix keys are stored. */
  readonly hashSeed: number
  /** Plans that may wait for their commit: 1 is the plain loop, 2 hides planning behind the device. */
  readonly maxStepsInFlight?: 1 | 2
  /**
   * Milliseconds that a step with decodes may take: prompts get the tokens that fit beside them, as
   * far as the durations given to `commit` tell. Left out: as many as the step has room for.
   */
  readonly maxStepMs?: number
  /** Sequences that wait at most, and their known tokens. Left out: any number. */
  readonly maxWaiting?: number
  readonly maxWaitingTokens?: number
  /** Milliseconds that a request may wait for its first admission. Left out: any time. */
  readonly maxQueueMs?: number
  /** Cached blocks a tenant may have before its own are evicted first. Left out: all blocks. */
  readonly cacheShareBlocks?: number
}

/** All limits, with Infinity for what has none. */
export type ResolvedLimits = Required<SchedulerLimits>

/** Fills in what was left out. Throws if a limit makes no sense. */
export function resolveLimits(limits: SchedulerLimits): ResolvedLimits {
  for (const [name, value] of Object.entries(limits)) {
    assert(Number.isSafeInteger(value), `the scheduler's ${name} must be an integer`, value)
    assert(value >= 1 || name === 'hashSeed', `the scheduler's ${name} must be 1 or more`, value)
  }
  const { maxStepsInFlight = 1 } = limits
  assert(maxStepsInFlight <= 2, "the scheduler's maxStepsInFlight must be 1 or 2", maxStepsInFlight)
  return {
    maxStepsInFlight,
    maxStepMs: Number.POSITIVE_INFINITY,
    maxWaiting: Number.POSITIVE_INFINITY,
    maxWaitingTokens: Number.POSITIVE_INFINITY,
    maxQueueMs: Number.POSITIVE_INFINITY,
    cacheShareBlocks: limits.numBlocks,
    ...limits,
  }
}

/**
 * The most new tokens a prompt of this length can get: what the context and the pool leave. With
 * maxTokens clamped to it, a sequence that is alone in the pool always finishes.
 */
export function maxTokensFor(limits: SchedulerLimits, numPromptTokens: number): number {
  const { maxContextLen, numBlocks, blockSize } = limits
  return Math.max(0, Math.min(maxContextLen, numBlocks * blockSize) - numPromptTokens)
}
