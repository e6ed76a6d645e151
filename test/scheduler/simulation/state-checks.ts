import type { SchedulerLimits } from '../../../scheduler/limits.js'
import type { Scheduler } from '../../../scheduler/scheduler.js'
import type { Sequence } from '../../../scheduler/sequence.js'
import { fail, type Life } from './life.js'
import type { WatchedPool } from './watched-pool.js'

/** `tenantStats` makes an object for each tenant: now and then is enough. */
const stepsPerTenantCheck = 16

/** What must hold between any two calls, said without the scheduler's own `checkIntegrity`. */
export class StateChecks {
  readonly #limits: SchedulerLimits
  readonly #numHolders: Int32Array
  /** By sampler slot, the number of the check that found it taken. */
  readonly #slotChecks: Int32Array
  #numChecks = 0

  constructor(limits: SchedulerLimits) {
    this.#limits = limits
    this.#numHolders = new Int32Array(limits.numBlocks)
    this.#slotChecks = new Int32Array(limits.maxSequences)
  }

  /** `leaving` have ended, and a step in flight has them. */
  check(
    scheduler: Scheduler,
    pool: WatchedPool,
    live: ReadonlyMap<number, Life>,
    leaving: ReadonlyMap<number, Life>,
  ): void {
    this.#numChecks++
    let numWaiting = 0
    let numWaitingTokens = 0
    for (const { sequence } of live.values()) {
      if (sequence.status === 'waiting') {
        checkWaiting(sequence)
        numWaiting++
        numWaitingTokens += sequence.numTokens
      } else if (sequence.status === 'running') {
        this.#checkRunning(sequence)
        this.#countHeld(sequence)
      } else fail(`sequence ${sequence.id} is ${sequence.status} and the client waits`)
    }
    for (const { sequence } of leaving.values()) this.#countHeld(sequence)

    const { stats } = scheduler
    const numRunning = live.size - numWaiting + leaving.size
    if (stats.numWaiting !== numWaiting) fail(`${stats.numWaiting} wait, not ${numWaiting}`)
    if (stats.numWaitingTokens !== numWaitingTokens) fail(`${stats.numWaitingTokens} tokens wait`)
    if (stats.numRunning !== numRunning) fail(`${stats.numRunning} run, not ${numRunning}`)
    const numBlocks = stats.numFreeBlocks + stats.numCachedBlocks + stats.numUsedBlocks
    if (numBlocks !== this.#limits.numBlocks) fail(`${numBlocks} blocks in all`)
    if (pool.numReplaced > 0 && stats.numStepsInFlight === 0) fail('a replaced block is kept')
    pool.compare(this.#numHolders)
    if (this.#numChecks % stepsPerTenantCheck === 0) this.#checkTenants(scheduler)
  }

  #checkRunning(s: Sequence): void {
    const { blockSize, maxContextLen } = this.#limits
    const { numComputedTokens, numPlannedTokens, numTokens, numPendingTokens, numBlocks } = s
    const isOrdered = numComputedTokens <= numPlannedTokens && numComputedTokens < numTokens
    if (!isOrdered) fail(`sequence ${s.id} has computed ${numComputedTokens} of ${numTokens}`)
    if (numPlannedTokens > numTokens + numPendingTokens) fail(`sequence ${s.id} was overplanned`)
    if (numTokens > maxContextLen) fail(`sequence ${s.id} has ${numTokens} tokens`)
    if (numPendingTokens > 2) fail(`sequence ${s.id} has ${numPendingTokens} pending tokens`)
    const isPrefill = numTokens + numPendingTokens - numPlannedTokens > 1
    const needed = Math.ceil((isPrefill ? numTokens : numPlannedTokens) / blockSize)
    const most = isPrefill ? needed : Math.ceil((numPlannedTokens + 1) / blockSize)
    const isRight =
      s.numPreemptions === 2
        ? numBlocks === s.blockTable.length
        : numBlocks >= needed && numBlocks <= most
    if (!isRight) fail(`sequence ${s.id} holds ${numBlocks} blocks, not ${needed}`)
    if (s.numPublishedBlocks !== Math.floor(numComputedTokens / blockSize)) {
      fail(`sequence ${s.id} has published ${s.numPublishedBlocks} blocks`)
    }
  }

  #countHeld({ id, samplerSlot, blockTable, numBlocks }: Sequence): void {
    const isSlot = samplerSlot >= 0 && samplerSlot < this.#limits.maxSequences
    if (!isSlot) fail(`sequence ${id} has no sampler slot`)
    if (this.#slotChecks[samplerSlot] === this.#numChecks) fail(`slot ${samplerSlot} is shared`)
    this.#slotChecks[samplerSlot] = this.#numChecks
    for (let i = 0; i < numBlocks; i++) this.#numHolders[blockTable[i]!]!++
  }

  #checkTenants(scheduler: Scheduler): void {
    const { maxContextLen, maxTokensPerStep } = this.#limits
    for (const { tenant, deficit, numWaiting, numRunning } of scheduler.tenantStats()) {
      const isBounded = deficit >= -maxContextLen && deficit <= maxTokensPerStep
      if (!isBounded) fail(`tenant ${tenant} has a deficit of ${deficit}`)
      if (numWaiting + numRunning === 0) fail(`tenant ${tenant} is kept for nobody`)
    }
  }
}

function checkWaiting(s: Sequence): void {
  const numHeld = s.numBlocks + s.numPlannedTokens + s.numComputedTokens + s.numPendingTokens
  if (numHeld > 0 || s.samplerSlot !== -1) fail(`the waiting sequence ${s.id} holds something`)
}

/** So many admissions of better priority in a row may pass over one that waits. */
const maxPasses = 16

/** Nobody starves: counts the admissions that passed over a priority. */
export class PassCounts {
  readonly #numPasses = new Map<number, number>()
  readonly #waiting = new Set<number>()

  /** Before a plan: the priorities of which somebody has waited since the last one. */
  noteWaiting(live: ReadonlyMap<number, Life>): void {
    this.#waiting.clear()
    for (const { sequence, isWaiting } of live.values()) {
      if (isWaiting && sequence.status === 'waiting') this.#waiting.add(sequence.priority)
    }
    for (const priority of this.#numPasses.keys()) {
      if (!this.#waiting.has(priority)) this.#numPasses.delete(priority)
    }
  }

  /** After it: those that were admitted, in order. */
  noteAdmitted(admitted: readonly Sequence[]): void {
    for (const { priority } of admitted) {
      this.#numPasses.delete(priority)
      for (const worse of this.#waiting) {
        if (worse <= priority) continue
        const numPasses = (this.#numPasses.get(worse) ?? 0) + 1
        this.#numPasses.set(worse, numPasses)
        // Several may have waited so long, and they go one after another.
        if (numPasses > maxPasses + this.#waiting.size) fail(`priority ${worse} starves`)
      }
    }
  }
}
