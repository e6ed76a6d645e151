import { assert } from './assert.js'
import type { BlockPool } from './block-pool.js'
import { needsBlock, releaseTable } from './block-table.js'
import { FreeList } from './free-list.js'
import type { Sequence } from './sequence.js'
import { SequenceQueue } from './sequence-queue.js'
import type { StepsInFlight } from './steps-in-flight.js'
import type { TenantAccount } from './tenants.js'

/**
 * The sequences that run. A seat is a sampler slot and the blocks that admission took; this is the
 * one place where both are given back, whatever the reason.
 */
export class Seats {
  /** In order of admission. */
  readonly running = new SequenceQueue()
  readonly samplerSlots: FreeList
  readonly #pool: BlockPool
  readonly #steps: StepsInFlight
  /** Sequences that run at once at most. */
  readonly maxRunning: number
  readonly #numSlots: number

  constructor(numSlots: number, maxRunning: number, pool: BlockPool, steps: StepsInFlight) {
    this.#pool = pool
    this.#steps = steps
    this.maxRunning = maxRunning
    this.#numSlots = numSlots
    this.samplerSlots = new FreeList(numSlots)
    for (let slot = 0; slot < numSlots; slot++) this.samplerSlots.pushBack(slot)
  }

  /** Whether one more may run. */
  get hasFree(): boolean {
    return this.running.length < this.maxRunning && this.samplerSlots.length > 0
  }

  /** Seats a sequence that has its blocks. */
  take(sequence: Sequence): void {
    this.running.pushBack(sequence)
    sequence.account.numRunning++
    sequence.status = 'running'
    sequence.samplerSlot = this.samplerSlots.takeFront()
  }

  /** Ends a sequence. What it holds goes back now, or with the newest step that has it. */
  leave(sequence: Sequence): void {
    this.running.remove(sequence)
    sequence.account.numRunning--
    sequence.status = 'finished'
    if (this.#steps.has(sequence)) this.#steps.leaving.pushBack(sequence)
    else this.#giveBack(sequence)
  }

  /** Takes everything from those that have ended and are in no step in flight any more. */
  giveBackLeft(): void {
    for (let s = this.#steps.takeLeft(); s !== undefined; s = this.#steps.takeLeft()) {
      this.#giveBack(s)
    }
  }

  /**
   * The newest of the sequences with the worst priority, of one tenant or of all; undefined if they
   * are protected.
   */
  findNewest(account?: TenantAccount): Sequence | undefined {
    let newest: Sequence | undefined
    for (let s = this.running.last; s !== undefined; s = s.previous) {
      const isCandidate = !s.isProtected && (account === undefined || s.account === account)
      if (isCandidate && (newest === undefined || s.priority > newest.priority)) newest = s
    }
    return newest
  }

  /**
   * Takes everything from a running sequence, so that it can wait again. What it had computed
   * stays cached while there is room. No step may be in flight.
   */
  preempt(victim: Sequence): void {
    this.running.remove(victim)
    victim.account.numRunning--
    victim.status = 'waiting'
    victim.numPreemptions++
    this.#giveBack(victim)
  }

  /** Blocks that the decodes of the next step ask for. */
  countBlocksForDecodes(): number {
    let numBlocks = 0
    for (let s = this.running.first; s !== undefined; s = s.next) {
      if (s.isDecode && needsBlock(s, this.#pool.blockSize)) numBlocks++
    }
    return numBlocks
  }

  /** Throws unless every slot is free or somebody's. O(1), so it runs after each step. */
  checkAccounting(): void {
    const numSeated = this.running.length + this.#steps.leaving.length
    const numSlots = this.samplerSlots.length + numSeated
    assert(numSlots === this.#numSlots, 'sampler slots do not add up', numSlots)
  }

  #giveBack(sequence: Sequence): void {
    releaseTable(sequence, this.#pool)
    sequence.numPendingTokens = 0
    this.samplerSlots.pushFront(sequence.samplerSlot)
    sequence.samplerSlot = -1
  }
}
