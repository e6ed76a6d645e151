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
}

/** The optional limits, filled in. */
export type ResolvedLimits = Required<SchedulerLimits>

const defaults = { maxStepsInFlight: 1 } as const

/** Fills in what was left out. Throws if a limit makes no sense. */
export function resolveLimits(limits: SchedulerLimits): ResolvedLimits {
  for (const [name, value] of Object.entries(limits)) {
    assert(Number.isSafeInteger(value), `the scheduler's ${name} must be an integer`, value)
    assert(value >= 1 || name === 'hashSeed', `the scheduler's ${name} must be 1 or more`, value)
  }
  const resolved = { ...defaults, ...limits }
  const { maxStepsInFlight } = resolved
  assert(maxStepsInFlight <= 2, "the scheduler's maxStepsInFlight must be 1 or 2", maxStepsInFlight)
  return resolved
}
