import type { SimulationConfig } from './config.js'
import type { Random } from './random.js'
import type { SoloRequest } from './tags.js'

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

  /** How many answers, and how urgent. */
  nextOptions(): { numChoices: number; priority: number } {
    const { numChoices, priorities } = this.#config
    const random = this.#random
    return { numChoices: random.pick(numChoices), priority: random.pick(priorities) }
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
