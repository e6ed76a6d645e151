/** Limits of one rendering; a template cannot raise them. */
export const MAX_RENDER_STEPS = 100_000
export const MAX_RENDER_DEPTH = 64
export const MAX_LOOP_LEN = 10_000
const OUTPUT_PER_INPUT = 4
const BASE_OUTPUT_LEN = 64 * 1024
/** Characters and elements that all steps together may produce, in units of the output's limit. */
const VOLUME_PER_OUTPUT = 256

/** What a rendering is worth stopping for. Its message is shown to the client and at load. */
export class RenderLimitError extends Error {
  override readonly name = 'RenderLimitError'
}

/**
 * Counts what one rendering uses: evaluated nodes, nesting, and the size of what it makes. A real
 * chat costs about 19 steps a message.
 */
export class RenderFence {
  readonly maxOutputLen: number
  readonly #maxVolume: number
  #numSteps = 0
  #depth = 0
  #volume = 0

  /** `inputLen`: UTF-16 units in all messages. */
  constructor(inputLen: number) {
    this.maxOutputLen = OUTPUT_PER_INPUT * inputLen + BASE_OUTPUT_LEN
    this.#maxVolume = VOLUME_PER_OUTPUT * this.maxOutputLen
  }

  enter(): void {
    if (++this.#numSteps > MAX_RENDER_STEPS) {
      throw new RenderLimitError(
        `it takes more than ${MAX_RENDER_STEPS} steps to render these messages`,
      )
    }
    if (++this.#depth > MAX_RENDER_DEPTH) {
      throw new RenderLimitError(`it is nested more than ${MAX_RENDER_DEPTH} levels deep`)
    }
  }

  leave(): void {
    this.#depth--
  }

  /** A string or list of `size` characters or elements was made, or is about to be. */
  charge(size: number): void {
    if (size > this.maxOutputLen) {
      throw new RenderLimitError(
        `it makes a text or list of more than ${this.maxOutputLen} characters out of these messages`,
      )
    }
    this.#volume += size
    if (this.#volume > this.#maxVolume) {
      throw new RenderLimitError(
        `it copies more than ${this.#maxVolume} characters to render these messages`,
      )
    }
  }

  checkLoop(numItems: number): void {
    if (numItems > MAX_LOOP_LEN) {
      throw new RenderLimitError(`it loops over ${numItems} items, the limit is ${MAX_LOOP_LEN}`)
    }
  }
}
