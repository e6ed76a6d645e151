import { assert } from './assert.js'
import type { BlockPool } from './block-pool.js'
import type { Sequence } from './sequence.js'
import { SequenceQueue } from './sequence-queue.js'
import type { LastStepStats } from './stats.js'
import { StepPlan } from './step-plan.js'

/**
 * The steps that are planned and not committed, at most two, and the fence behind them: what has
 * been given up, but may still be read or written by a step in flight.
 *
 *   step          n - 1        n          n + 1
 *                 committed    in flight  in flight, the newest
 *                              |- a sequence that ends now stays until the newest of these that
 *                                 has it is committed; so does a block that it replaced by a twin
 */
export class StepsInFlight {
  /** Sequences that have ended, while a step in flight has them: they keep blocks and slots. */
  readonly leaving = new SequenceQueue()
  /** Blocks that twins took the place of while the newest step reads them; each held once. */
  readonly fencedBlocks: number[] = []
  readonly #plans: readonly [StepPlan, StepPlan]
  readonly #maxLength: 1 | 2
  readonly #last = {
    stepNumber: 0,
    numDecodes: 0,
    numPromptTokens: 0,
    numAdmitted: 0,
    numBlockCopies: 0,
    durationMs: 0,
  }
  #numPlanned = 0
  #numCommitted = 0

  constructor(maxLength: 1 | 2, maxSequences: number) {
    this.#maxLength = maxLength
    this.#plans = [new StepPlan(maxSequences), new StepPlan(maxSequences)]
  }

  get length(): number {
    return this.#numPlanned - this.#numCommitted
  }

  /** Steps planned so far; also the number of the newest one. */
  get numPlanned(): number {
    return this.#numPlanned
  }

  /** Steps committed so far. */
  get numCommitted(): number {
    return this.#numCommitted
  }

  /** What the step was that was committed last. */
  get last(): LastStepStats {
    return { ...this.#last }
  }

  /** Whether a step in flight reads or writes the blocks of this sequence. */
  has(sequence: Sequence): boolean {
    return sequence.lastStep > this.#numCommitted
  }

  /** The plan to fill for the next step, empty. It is not in flight before `launch`. */
  prepare(): StepPlan {
    const { length } = this
    assert(
      length < this.#maxLength,
      'a step was scheduled before one was committed; in flight',
      length,
    )
    const plan = this.#plans[this.#numPlanned % 2]!
    plan.clear(this.#numPlanned + 1)
    return plan
  }

  launch(): void {
    this.#numPlanned++
  }

  /** The oldest step has run. Gives back the blocks that were fenced for it. */
  land(plan: StepPlan, pool: BlockPool, durationMs = 0): void {
    const isOldest = this.length > 0 && plan === this.#plans[this.#numCommitted % 2]
    assert(isOldest, 'a plan was committed that is not the oldest in flight', plan.stepNumber)
    this.#numCommitted++
    // At most two are in flight: what was fenced at the commit before was fenced for this step.
    for (const blockId of this.fencedBlocks) pool.release(blockId)
    this.fencedBlocks.length = 0
    const last = this.#last
    last.stepNumber = plan.stepNumber
    last.numDecodes = plan.numDecodes
    last.numPromptTokens = plan.numTokens - plan.numDecodes
    last.numAdmitted = plan.admitted.length
    last.numBlockCopies = plan.numBlockCopies
    last.durationMs = durationMs
  }

  /** Takes one out of `leaving` that no step in flight has any more; undefined if there is none. */
  takeLeft(): Sequence | undefined {
    let sequence = this.leaving.first
    while (sequence !== undefined && this.has(sequence)) sequence = sequence.next
    if (sequence !== undefined) this.leaving.remove(sequence)
    return sequence
  }
}
