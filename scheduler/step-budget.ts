/** A prompt gets at least so many tokens in a step, whatever the time says: it must get on. */
export const minChunkTokens = 16
/** How much of the error of a prediction is believed to be the model's fault, not chance's. */
const learningRate = 0.5
/** What is aimed at, of the time that is promised: steps vary. */
const aim = 0.9
/** Small units, so that a step with a prompt teaches what tokens cost, and one without the rest. */
const decodesPerUnit = 16
const tokensPerUnit = 16

/**
 * Keeps a promise: while sequences decode, a step takes at most `maxStepMs`. Decodes always run, so
 * the promise is kept with the prompt tokens beside them, of which each costs time:
 *
 *   step ms  =  base  +  perDecode * decodes  +  perToken * prompt tokens
 *
 * The three are learnt from measured steps, each of which corrects the prediction it contradicts
 * (normalised least mean squares). Nothing else is known of the device, and what changes slowly,
 * such as the length of contexts, is followed. A chunk at most doubles from what was tried before,
 * so that a bad guess costs one long step and not many.
 *
 * Pure: time comes in as an argument.
 */
export class StepBudget {
  readonly #maxStepMs: number
  #baseMs = 0
  #msPerDecodeUnit = 0
  #msPerTokenUnit = 0
  /** The longest chunk that may be tried next. */
  #maxChunk = 4 * minChunkTokens

  /** Infinity promises nothing. */
  constructor(maxStepMs: number) {
    this.#maxStepMs = maxStepMs
  }

  /** Prompt tokens that the next step may compute beside so many decodes; 1 or more. */
  chunkTokens(numDecodes: number): number {
    // Nobody waits for the next token, so there is nothing to promise.
    if (numDecodes === 0 || this.#maxStepMs === Number.POSITIVE_INFINITY) {
      return Number.POSITIVE_INFINITY
    }
    const leftMs = aim * this.#maxStepMs - this.#predict(numDecodes, 0)
    const numTokens = Math.floor((leftMs / this.#msPerTokenUnit) * tokensPerUnit)
    // Before the first chunk was measured a token seems to cost nothing: 0 / 0 among others.
    const numWanted = this.#msPerTokenUnit > 0 ? numTokens : this.#maxChunk
    return Math.max(minChunkTokens, Math.min(numWanted, this.#maxChunk))
  }

  /** A step with so many decodes and prompt tokens took so long. */
  observe(numDecodes: number, numPromptTokens: number, durationMs: number): void {
    const decodes = numDecodes / decodesPerUnit
    const tokens = numPromptTokens / tokensPerUnit
    const error = durationMs - this.#predict(numDecodes, numPromptTokens)
    // The first chunk is believed whole: nothing is known yet that it could be weighed against.
    const isFirst = numPromptTokens > 0 && this.#msPerTokenUnit === 0
    const gain = ((isFirst ? 1 : learningRate) * error) / (1 + decodes * decodes + tokens * tokens)
    this.#baseMs = Math.max(0, this.#baseMs + gain)
    this.#msPerDecodeUnit = Math.max(0, this.#msPerDecodeUnit + gain * decodes)
    this.#msPerTokenUnit = Math.max(0, this.#msPerTokenUnit + gain * tokens)
    if (durationMs <= this.#maxStepMs) {
      this.#maxChunk = Math.max(this.#maxChunk, 2 * numPromptTokens)
    } else if (numPromptTokens > 0 && numDecodes > 0) {
      const numFitting = Math.floor((numPromptTokens * this.#maxStepMs) / durationMs)
      this.#maxChunk = Math.max(minChunkTokens, Math.min(this.#maxChunk, numFitting))
    }
  }

  #predict(numDecodes: number, numPromptTokens: number): number {
    const decodeMs = (numDecodes / decodesPerUnit) * this.#msPerDecodeUnit
    return this.#baseMs + decodeMs + (numPromptTokens / tokensPerUnit) * this.#msPerTokenUnit
  }
}
