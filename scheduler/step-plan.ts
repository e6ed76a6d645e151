import type { Sequence } from './sequence.js'

/** `stop`: a stop token; `length`: maxTokens; `failed`: the model gave no usable logits. */
export type SequenceEnd = 'stop' | 'length' | 'failed'

/** What a step did for one sequence that sampled. */
export interface StepOutcome {
  sequence: Sequence
  /** The new token, also when it is the stop token; -1 if the sequence failed. */
  tokenId: number
  /** null while the sequence goes on. */
  finishReason: SequenceEnd | null
}

/**
 * One step: which sequences run, and how many new tokens of each. There is one plan object per
 * scheduler, filled anew by each `schedule`; the arrays and the outcomes are reused, so nothing is
 * allocated while the same number of sequences decode.
 */
export class StepPlan {
  /**
   * Decodes first, then prefill chunks. Sequence i computes `numScheduledTokens` tokens from
   * `numComputedTokens` on, and samples if `samples`.
   */
  readonly sequences: Sequence[] = []
  /** Those of `sequences` that got their sampler slot for this step, also again after preemption. */
  readonly admitted: Sequence[] = []
  /**
   * Filled by `commit`, in the order of `sequences`; means nothing from the next `schedule` to its
   * `commit`. Not in here: sequences that did not sample, and those that were aborted while the
   * step was in flight.
   */
  readonly outcomes: StepOutcome[] = []
  /** Sum of numScheduledTokens. */
  numTokens = 0
  /** The first so many sequences compute one token each. */
  numDecodes = 0

  readonly #sparedOutcomes: StepOutcome[] = []
  #numSequences = 0
  #numAdmitted = 0
  #numOutcomes = 0

  /** Starts over. The arrays keep their old content until they are sealed. */
  clear(): void {
    this.numTokens = 0
    this.numDecodes = 0
    this.#numSequences = 0
    this.#numAdmitted = 0
    this.#numOutcomes = 0
  }

  add(sequence: Sequence, numTokens: number): void {
    sequence.numScheduledTokens = numTokens
    this.sequences[this.#numSequences++] = sequence
    this.numTokens += numTokens
  }

  addAdmitted(sequence: Sequence): void {
    this.admitted[this.#numAdmitted++] = sequence
  }

  addOutcome(sequence: Sequence, tokenId: number, finishReason: SequenceEnd | null): void {
    const index = this.#numOutcomes++
    let outcome = this.#sparedOutcomes[index]
    if (outcome === undefined) {
      outcome = { sequence, tokenId, finishReason }
      this.#sparedOutcomes[index] = outcome
    }
    outcome.sequence = sequence
    outcome.tokenId = tokenId
    outcome.finishReason = finishReason
    this.outcomes[index] = outcome
  }

  /**
   * Cuts the lists of sequences to what was added. Emptying them in `clear` would let go of their
   * memory and take it again at each step.
   */
  seal(): void {
    this.sequences.length = this.#numSequences
    this.admitted.length = this.#numAdmitted
  }

  /** The same for the outcomes, which are added later. */
  sealOutcomes(): void {
    this.outcomes.length = this.#numOutcomes
  }
}
