import type { SchedulerLimits } from '../../../scheduler/limits.js'
import type { Random } from './random.js'
import type { SoloRequest } from './tags.js'

/** Everything a run draws from its seed before the first step. */
export interface SimulationConfig {
  readonly limits: SchedulerLimits
  readonly vocabSize: number
  readonly numTenants: number
  /** Probability that requests arrive before, and during, a step. */
  readonly arrivalRate: number
  /** Requests that arrive at once at most. */
  readonly maxBurst: number
  /** Probabilities per step that a sequence of this kind is aborted. */
  readonly abortRates: { waiting: number; between: number; inFlight: number }
  /** Probability that a request's model run fails somewhere. */
  readonly failureRate: number
  /** Requests that live at once at most. */
  readonly maxLive: number
  /** Share of requests that ask for up to 100 tokens. */
  readonly longAnswerRate: number
  /** A request's number of choices, and its priority, are picked from these. */
  readonly numChoices: readonly number[]
  readonly priorities: readonly number[]
  /** Share of prompts that are kept below an eighth of the pool, so that many run at once. */
  readonly shortPromptRate: number
}

/** Random limits and rates; many of the rates are zero in a given run, so that runs differ. */
export function drawConfig(random: Random): SimulationConfig {
  const blockSize = random.chance(0.5) ? random.pick([1, 2, 4, 8, 16, 32]) : random.integer(1, 32)
  // A tight run has more sequences than blocks to hold their answers: it preempts.
  const isTight = random.chance(0.4)
  const numBlocks = isTight ? random.logInteger(4, 40) : random.logInteger(4, 512)
  const rate = (maximum: number) => (random.chance(0.4) ? 0 : random.fraction() ** 2 * maximum)
  return {
    limits: {
      blockSize,
      numBlocks,
      maxTokensPerStep: random.logInteger(isTight ? 4 : 1, 256),
      maxSequences: random.logInteger(isTight ? 6 : 1, 32),
      maxContextLen:
        isTight || random.chance(0.3) ? numBlocks * blockSize * 2 : random.logInteger(8, 400),
      hashSeed: random.next() * 2 ** 20 + random.integer(0, 2 ** 20),
      maxStepsInFlight: random.pick([1, 2, 2]),
    },
    vocabSize: random.pick([2, 40, 1000, 1000]),
    numTenants: random.integer(1, 8),
    arrivalRate: (isTight ? 0.3 : 0.05) + random.fraction() * 0.6,
    maxBurst: random.pick([1, 1, 3, 12]),
    abortRates: { waiting: rate(0.2), between: rate(0.1), inFlight: rate(0.2) },
    failureRate: rate(0.2),
    maxLive: random.logInteger(isTight ? 8 : 1, 40),
    shortPromptRate: isTight ? 0.9 : 0,
    longAnswerRate: random.pick(isTight ? [0.3, 0.9] : [0, 0.1, 0.8]),
    numChoices: random.pick([[1], [1, 1, 1, 3], [1, 2, 8]]),
    priorities: random.pick([[0], [0, 0, 5], [-8, -1, 0, 7]]),
  }
}

/** Makes requests whose prompts often share their beginning. */
export class Workload {
  readonly #random: Random
  readonly #config: SimulationConfig
  readonly #families: readonly Int32Array[]
  #lastPrompt: Int32Array | undefined

  constructor(random: Random, config: SimulationConfig) {
    this.#random = random
    this.#config = config
    const length = Math.min(config.limits.maxContextLen, 600)
    this.#families = Array.from({ length: random.integer(1, 4) }, () => this.#tokens(length))
  }

  /** `maxTokensFor` is the scheduler's: a request asks for at most that. */
  nextRequest(maxTokensFor: (numPromptTokens: number) => number): SoloRequest {
    const random = this.#random
    const longest = maxTokensFor(0) - 1
    const isShort = random.chance(this.#config.shortPromptRate)
    const promptTokenIds = this.#prompt(isShort ? Math.ceil(longest / 8) : longest)
    const limit = maxTokensFor(promptTokenIds.length)
    const isLong = random.chance(this.#config.longAnswerRate)
    const maxTokens = Math.min(limit, isLong ? random.integer(20, 100) : this.#length())
    const numStopTokens = random.integer(0, 2)
    return {
      promptTokenIds,
      tenant: this.#tenant(),
      seed: random.next(),
      maxTokens,
      minTokens: random.chance(0.5) ? 0 : random.integer(0, 8),
      stopTokenIds: this.#tokens(numStopTokens),
      ignoreStopTokens: random.chance(0.2),
      failsAt: random.chance(this.#config.failureRate) ? random.integer(0, maxTokens - 1) : -1,
    }
  }

  /** Small numbers, and one too wide for 32 bits, as a digest cut to 53 bits would be. */
  #tenant(): number {
    const index = this.#random.integer(0, this.#config.numTenants - 1)
    return index % 2 === 0 ? index : index * 2 ** 40 + 3
  }

  #prompt(maxLen: number): Int32Array {
    const random = this.#random
    // The same prompt again, often for another tenant.
    const last = this.#lastPrompt
    if (last !== undefined && last.length <= maxLen && random.chance(0.3)) return last
    const family = random.pick(this.#families)
    const numShared = Math.min(this.#length(), family.length, maxLen)
    const numOwn = random.chance(0.4) ? 0 : Math.min(this.#length(), maxLen - numShared)
    const prompt = new Int32Array(Math.max(1, numShared + numOwn))
    prompt.set(family.subarray(0, numShared))
    prompt.set(this.#tokens(prompt.length - numShared), numShared)
    this.#lastPrompt = prompt
    return prompt
  }

  /** Short, or long, or a block's edge: block size times k, and one less and one more. */
  #length(): number {
    const random = this.#random
    if (random.chance(0.3)) return random.logInteger(1, 300)
    if (random.chance(0.3)) return random.integer(1, 10)
    const numBlocks = random.integer(1, 4)
    return Math.max(1, numBlocks * this.#config.limits.blockSize + random.integer(-1, 1))
  }

  #tokens(length: number): Int32Array {
    return Int32Array.from({ length }, () => this.#random.integer(0, this.#config.vocabSize - 1))
  }
}
