import { assert } from './assert.js'
import type { BlockPool } from './block-pool.js'
import type { Buggify } from './buggify.js'
import type { Seats } from './seats.js'
import type { Sequence } from './sequence.js'
import type { StepsInFlight } from './steps-in-flight.js'
import type { Tenants } from './tenants.js'
import type { WaitingLine } from './waiting-line.js'

/**
 * Takes blocks and slots from running sequences and puts these back in line, where they wait to be
 * computed again: for decodes that need blocks, and for a tenant that would have nothing at all.
 *
 * Nobody is preempted while a step is in flight: its commit may give back enough, and only then is
 * every token of a sequence known.
 */
export class Preemption {
  readonly #pool: BlockPool
  readonly #seats: Seats
  readonly #steps: StepsInFlight
  readonly #tenants: Tenants
  readonly #waiting: WaitingLine
  readonly #buggify: Buggify
  /** First in line, and there was no room for it though nothing of its tenant runs. */
  #crowdedOut: Sequence | undefined
  #numPreemptions = 0

  constructor(
    pool: BlockPool,
    seats: Seats,
    steps: StepsInFlight,
    tenants: Tenants,
    waiting: WaitingLine,
    buggify: Buggify,
  ) {
    this.#pool = pool
    this.#seats = seats
    this.#steps = steps
    this.#tenants = tenants
    this.#waiting = waiting
    this.#buggify = buggify
  }

  /** Preemptions since the start. */
  get numPreemptions(): number {
    return this.#numPreemptions
  }

  /** Whether the first in line had no room in this step. */
  noteAdmission(first: Sequence, hadRoom: boolean): void {
    this.#crowdedOut = !hadRoom && first.account.numRunning === 0 ? first : undefined
  }

  /**
   * Sees to it that the next step's decodes have their blocks. Returns how many sequences it may
   * admit, -1 if it cannot be planned before a step in flight is committed. Whoever was preempted
   * for decodes would only take back what was taken, so then it admits nobody.
   */
  makeRoom(): number {
    let maxAdmitted = Number.POSITIVE_INFINITY
    const isStirred = this.#steps.length === 0 && this.#buggify('preempt')
    if (isStirred && this.#seats.running.length > 1 && this.#preemptNewest()) maxAdmitted = 0
    const numBefore = this.#numPreemptions
    if (!this.#makeSeat()) return -1
    if (this.#numPreemptions > numBefore) maxAdmitted = Math.min(maxAdmitted, 1)
    // Each decode asks for one block at most, so the count is only taken when the pool is tight.
    if (this.#pool.numAvailableBlocks >= this.#seats.running.length) return maxAdmitted
    if (this.#seats.countBlocksForDecodes() <= this.#pool.numAvailableBlocks) return maxAdmitted
    if (this.#steps.length > 0) return -1
    while (this.#seats.countBlocksForDecodes() > this.#pool.numAvailableBlocks) {
      // Protected sequences ask for no blocks, so whoever asks can itself be preempted.
      assert(this.#preemptNewest(), 'no running sequence may be preempted')
    }
    return 0
  }

  /**
   * A tenant that has nothing running, and found no room in the last step though it was its turn,
   * gets the place of a sequence of the tenant that has most, if that is more than its share.
   * false if a step in flight must be waited for.
   */
  #makeSeat(): boolean {
    const sequence = this.#crowdedOut
    if (sequence === undefined || sequence !== this.#waiting.first) return true
    const greediest = this.#tenants.findGreediest(this.#seats.maxRunning)
    const victim = greediest && this.#seats.findNewest(greediest)
    if (victim === undefined || victim.priority < sequence.priority) return true
    if (this.#steps.length > 0) return false
    this.#waiting.keepFirst(sequence)
    this.#preempt(victim)
    return true
  }

  #preemptNewest(): boolean {
    const victim = this.#seats.findNewest()
    if (victim !== undefined) this.#preempt(victim)
    return victim !== undefined
  }

  #preempt(sequence: Sequence): void {
    this.#seats.preempt(sequence)
    this.#numPreemptions++
    this.#waiting.putBack(sequence)
  }
}
