/** Limits of one rendering; a template cannot raise them. */
export const MAX_RENDER_STEPS = 100_000
export const MAX_RENDER_DEPTH = 64
export const MAX_LOOP_LEN = 10_000
/** What the scope and the loop variables of one item cost. */
const STEPS_PER_LOOP_ITEM = 3
const OUTPUT_PER_INPUT = 4
const BASE_OUTPUT_LEN = 64 * 1024
/** What all steps together may make, in characters, as a multiple of the output's limit. */
const VOLUME_PER_OUTPUT = 64
/** An element of a list, or a node that is looked at, costs about as much as this many characters. */
export const CHARS_PER_ITEM = 32

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
    this.#countSteps(1)
    if (++this.#depth > MAX_RENDER_DEPTH) {
      throw new RenderLimitError(`it is nested more than ${MAX_RENDER_DEPTH} levels deep`)
    }
  }

  leave(): void {
    this.#depth--
  }

  /** A text of this many characters was made, or is about to be. */
  chargeText(numChars: number): void {
    this.checkSize(numChars)
    this.#charge(numChars)
  }

  /** This many elements were made or looked at. */
  chargeItems(numItems: number): void {
    this.#charge(CHARS_PER_ITEM * numItems)
  }

  /** No text, and no list with all that is in it, may be larger than the output. */
  checkSize(size: number): void {
    if (size <= this.maxOutputLen) return
    throw new RenderLimitError(
      `it makes a text or list of more than ${this.maxOutputLen} characters out of these messages`,
    )
  }

  /** Counts the items before the loop starts: the library prepares scopes for all of them at once. */
  enterLoop(numItems: number): void {
    if (numItems > MAX_LOOP_LEN) {
      throw new RenderLimitError(`it loops over ${numItems} items, the limit is ${MAX_LOOP_LEN}`)
    }
    this.#countSteps(STEPS_PER_LOOP_ITEM * numItems)
  }

  #countSteps(numSteps: number): void {
    this.#numSteps += numSteps
    if (this.#numSteps <= MAX_RENDER_STEPS) return
    throw new RenderLimitError(
      `it takes more than ${MAX_RENDER_STEPS} steps to render these messages`,
    )
  }

  #charge(volume: number): void {
    this.#volume += volume
    if (this.#volume <= this.#maxVolume) return
    throw new RenderLimitError(
      `it copies more than ${this.#maxVolume} characters to render these messages`,
    )
  }
}
