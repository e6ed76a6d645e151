import type { BuggifyPlace } from '../../../scheduler/buggify.js'
import type { SchedulerLimits } from '../../../scheduler/limits.js'
import type { Random } from './random.js'

/** Everything a run draws from its seed before the first step. */
export interface SimulationConfig {
  readonly limits: SchedulerLimits
  readonly vocabSize: number
  /** Different tenants; one with two cache salts counts twice. */
  readonly numTenants: number
  /** Probability that requests arrive at each occasion. */
  readonly arrivalRate: number
  /** Requests that arrive at once at most. */
  readonly maxBurst: number
  /** Probabilities per step. */
  readonly abortRates: {
    readonly waiting: number
    readonly between: number
    readonly inFlight: number
    /** All choices of a request go. */
    readonly group: number
    /** Everybody of a tenant goes. */
    readonly tenant: number
  }
  /** Probability that a request's model run fails somewhere. */
  readonly failureRate: number
  /** Probabilities per step that the cache is reset, that the clock jumps, that the engine dies. */
  readonly resetRate: number
  readonly clockJumpRate: number
  readonly deathRate: number
  /** Sequences that live at once at most. */
  readonly maxLive: number
  /** Share of requests that ask for up to 100 tokens. */
  readonly longAnswerRate: number
  /** A request's number of choices, and its priority, are picked from these. */
  readonly numChoices: readonly number[]
  readonly priorities: readonly number[]
  /** Share of prompts that are kept below an eighth of the pool, so that many run at once. */
  readonly shortPromptRate: number
  /** How long a step takes: the base, and each token, in milliseconds. */
  readonly stepMs: { readonly base: number; readonly perToken: number }
  /** How likely the scheduler's unlikely turns are. */
  readonly buggifyRates: ReadonlyMap<BuggifyPlace, number>
}

const buggifyPlaces: readonly BuggifyPlace[] = [
  'late_plan',
  'preempt',
  'small_chunk',
  'no_admission',
  'cache_miss',
  'cache_reset',
]

/** Random limits and rates; many of the rates are zero in a given run, so that runs differ. */
export function drawConfig(random: Random): SimulationConfig {
  // A tight run has more sequences than blocks to hold their answers: it preempts.
  const isTight = random.chance(0.4)
  const rate = (maximum: number) => (random.chance(0.4) ? 0 : random.fraction() ** 2 * maximum)
  const rarely = (maximum: number) => (random.chance(0.8) ? 0 : random.fraction() * maximum)
  return {
    limits: drawLimits(random, isTight),
    vocabSize: random.pick([2, 40, 1000, 1000]),
    numTenants: random.integer(1, 8),
    arrivalRate: (isTight ? 0.3 : 0.05) + random.fraction() * 0.6,
    maxBurst: random.pick([1, 1, 3, 12]),
    abortRates: {
      waiting: rate(0.2),
      between: rate(0.1),
      inFlight: rate(0.2),
      group: rate(0.1),
      tenant: rarely(0.02),
    },
    failureRate: rate(0.2),
    resetRate: rarely(0.05),
    clockJumpRate: rarely(0.05),
    deathRate: rarely(0.01),
    maxLive: random.logInteger(isTight ? 8 : 1, 40),
    shortPromptRate: isTight ? 0.9 : 0,
    longAnswerRate: random.pick(isTight ? [0.3, 0.9] : [0, 0.1, 0.8]),
    numChoices: random.pick([[1], [1, 1, 1, 3], [1, 2, 8]]),
    priorities: random.pick([[0], [0, 0, 5], [-8, -1, 0, 7]]),
    stepMs: { base: random.fraction() * 10, perToken: random.fraction() * 0.3 },
    buggifyRates: drawBuggify(random),
  }
}

function drawLimits(random: Random, isTight: boolean): SchedulerLimits {
  const blockSize = random.chance(0.5) ? random.pick([1, 2, 4, 8, 16, 32]) : random.integer(1, 32)
  const numBlocks = isTight ? random.logInteger(4, 40) : random.logInteger(4, 512)
  return {
    blockSize,
    numBlocks,
    maxTokensPerStep: random.logInteger(isTight ? 4 : 1, 256),
    maxSequences: random.logInteger(isTight ? 6 : 1, 32),
    maxContextLen:
      isTight || random.chance(0.3) ? numBlocks * blockSize * 2 : random.logInteger(8, 400),
    hashSeed: random.next() * 2 ** 20 + random.integer(0, 2 ** 20),
    maxStepsInFlight: random.pick([1, 2, 2]),
    ...(random.chance(0.3) ? { maxStepMs: random.integer(1, 30) } : {}),
    ...(random.chance(0.3) ? { maxWaiting: random.logInteger(1, 30) } : {}),
    ...(random.chance(0.3) ? { maxWaitingTokens: random.logInteger(8, 2000) } : {}),
    ...(random.chance(0.3) ? { maxQueueMs: random.logInteger(5, 2000) } : {}),
    ...(random.chance(0.4) ? { cacheShareBlocks: random.logInteger(1, numBlocks) } : {}),
  }
}

function drawBuggify(random: Random): Map<BuggifyPlace, number> {
  const rates = new Map<BuggifyPlace, number>()
  if (random.chance(0.4)) return rates
  for (const place of buggifyPlaces) {
    if (random.chance(0.5)) rates.set(place, random.pick([0.02, 0.1, 0.4]))
  }
  return rates
}
