import { assert } from './assert.js'
import type { Sequence } from './sequence.js'

/**
 * `stop`: a stop token; `length`: maxTokens; `failed`: the model gave no usable logits;
 * `queue_timeout`: it waited too long to begin.
 */
export type SequenceEnd = 'stop' | 'length' | 'failed' | 'queue_timeout'

/** What a step computes for one sequence: numTokens new tokens from position `start` on. */
export interface StepRow {
  sequence: Sequence
  /** Position of the first of them; all before it are in the cache, or in the step in flight. */
  start: number
  /** 1 or more. */
  numTokens: number
  /** Whether it samples: a chunk of a prompt that is not the last does not. */
  samples: boolean
  /**
   * -1 if every token is in `sequence.tokenIds`. Otherwise there is one token, not known yet: the
   * one that this row of the plan just before samples, which is still in flight.
   */
  sourceRow: number
}

/** What became of a sequence: mostly what a step did for one that sampled. */
export interface StepOutcome {
  sequence: Sequence
  /** The new token, also when it is the stop token; -1 if there is none. */
  tokenId: number
  /** null while the sequence goes on. */
  finishReason: SequenceEnd | null
}

/**
 * One step: which sequences run, and how many new tokens of each. A scheduler has two plan objects
 * that alternate; the rows, the arrays and the outcomes are reused, so nothing is allocated while
 * the same number of sequences decode. A plan is good until the second `schedule` after its own.
 */
export class StepPlan {
  /** Counted from 1. */
  stepNumber = 0
  /** Decodes first, then prefill chunks. */
  readonly rows: StepRow[] = []
  /** Sequences that got their sampler slot for this step, also again after preemption. */
  readonly admitted: Sequence[] = []
  /**
   * Filled by `commit`, in the order of the rows; means nothing before it. Not in here: sequences
   * that did not sample, and those that had ended before.
   */
  readonly outcomes: StepOutcome[] = []
  /** Sum of the rows' numTokens. */
  numTokens = 0
  /** The first so many rows compute one token each. */
  numDecodes = 0

  /**
   * Pairs of block ids, source and destination: KV blocks that are copied, whole and in all layers,
   * before anything is computed. The first 2 * numBlockCopies entries count.
   */
  readonly blockCopies: Int32Array
  numBlockCopies = 0

  readonly #sparedRows: StepRow[] = []
  readonly #sparedOutcomes: StepOutcome[] = []
  #numRows = 0
  #numAdmitted = 0
  #numOutcomes = 0

  constructor(maxSequences: number) {
    this.blockCopies = new Int32Array(2 * maxSequences)
  }

  /** Starts over. The arrays keep their old content until they are sealed. */
  clear(stepNumber: number): void {
    this.stepNumber = stepNumber
    this.numTokens = 0
    this.numDecodes = 0
    this.numBlockCopies = 0
    this.#numRows = 0
    this.#numAdmitted = 0
    this.#numOutcomes = 0
  }

  /** Plans the next numTokens tokens of a sequence. */
  add(sequence: Sequence, numTokens: number): void {
    const index = this.#numRows++
    const start = sequence.numPlannedTokens
    const end = start + numTokens
    let sourceRow = -1
    if (end > sequence.numTokens) {
      const isNext = sequence.lastStep === this.stepNumber - 1 && numTokens === 1
      assert(isNext, 'a token was planned that no step samples; sequence', sequence.id)
      sourceRow = sequence.lastRow
    }
    const samples = end === sequence.numTokens + sequence.numPendingTokens
    let row = this.#sparedRows[index]
    if (row === undefined) {
      row = { sequence, start, numTokens, samples, sourceRow }
      this.#sparedRows[index] = row
    }
    row.sequence = sequence
    row.start = start
    row.numTokens = numTokens
    row.samples = samples
    row.sourceRow = sourceRow
    this.rows[index] = row
    this.numTokens += numTokens

    sequence.numPlannedTokens = end
    if (samples) sequence.numPendingTokens++
    sequence.lastStep = this.stepNumber
    sequence.lastRow = index
  }

  /** Plans to copy a block, at most one for each sequence. */
  addBlockCopy(source: number, destination: number): void {
    this.blockCopies[2 * this.numBlockCopies] = source
    this.blockCopies[2 * this.numBlockCopies + 1] = destination
    this.numBlockCopies++
  }

  /** Sequences admitted so far. */
  get numAdmitted(): number {
    return this.#numAdmitted
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
   * Cuts the lists to what was added. Emptying them in `clear` would let go of their memory and
   * take it again at each step.
   */
  seal(): void {
    this.rows.length = this.#numRows
    this.admitted.length = this.#numAdmitted
  }

  /** The same for the outcomes, which are added later. */
  sealOutcomes(): void {
    this.outcomes.length = this.#numOutcomes
  }
}
