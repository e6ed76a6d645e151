import { takeTable } from './admission.js'
import { assert } from './assert.js'
import { BegunPrompts } from './begun-prompts.js'
import { BlockPool } from './block-pool.js'
import { growTable, needsBlock, publishFullBlocks, withdrawBlocks } from './block-table.js'
import { type Buggify, neverBuggify } from './buggify.js'
import { checkIntegrity } from './integrity.js'
import { maxTokensFor, type ResolvedLimits, resolveLimits, type SchedulerLimits } from './limits.js'
import { Preemption } from './preemption.js'
import { Seats } from './seats.js'
import { checkSpec, Sequence, type SequenceSpec } from './sequence.js'
import type { LastStepStats, SchedulerStats, TenantStats } from './stats.js'
import { StepBudget } from './step-budget.js'
import type { SequenceEnd, StepOutcome, StepPlan, StepRow } from './step-plan.js'
import { StepsInFlight } from './steps-in-flight.js'
import { Tenants } from './tenants.js'
import { WaitingLine } from './waiting-line.js'

/**
 * Decides what each step computes. Pure: no clock, no randomness, no i/o; the same calls give the
 * same plans.
 *
 *   add, abort   at any time between the calls below, also while steps are in flight
 *   schedule     a plan for the next step, or undefined if nothing can be planned now
 *   commit       what the oldest step in flight sampled; may finish sequences
 *
 * Up to `maxStepsInFlight` plans wait for their commit, and they are committed in order. With two,
 * step n + 1 is planned while step n runs: the tokens that step n samples are not known yet, so
 * their rows refer to rows of step n instead. The answers are the same either way.
 *
 * A broken invariant throws a plain Error. The scheduler is not to be used after one.
 */
export class Scheduler {
  readonly limits: ResolvedLimits
  readonly #pool: BlockPool
  readonly #buggify: Buggify
  /** Every sequence that has not ended, by id. */
  readonly #sequences = new Map<number, Sequence>()
  readonly #tenants: Tenants
  readonly #waiting: WaitingLine
  readonly #seats: Seats
  readonly #steps: StepsInFlight
  readonly #preemption: Preemption
  readonly #budget: StepBudget
  readonly #begunPrompts = new BegunPrompts()
  #numPrefixHitTokens = 0
  #numQueueTimeouts = 0

  /** The pool is an argument so that tests can look inside; `buggify` so that they can stir. */
  constructor(limits: SchedulerLimits, pool?: BlockPool, buggify = neverBuggify) {
    this.limits = resolveLimits(limits)
    const { blockSize, numBlocks, hashSeed, cacheShareBlocks, maxSequences } = this.limits
    this.#pool = pool ?? new BlockPool(numBlocks, blockSize, hashSeed, cacheShareBlocks)
    this.#buggify = buggify
    this.#tenants = new Tenants(this.limits.maxContextLen)
    this.#waiting = new WaitingLine(this.#tenants, this.limits.maxTokensPerStep)
    this.#steps = new StepsInFlight(this.limits.maxStepsInFlight, maxSequences)
    this.#budget = new StepBudget(this.limits.maxStepMs)
    // Not more seats than a step has tokens: so every decode runs in every step, and the first
    // prompt always has a token left to compute.
    const maxRunning = Math.min(maxSequences, this.limits.maxTokensPerStep)
    const seats = new Seats(maxSequences, maxRunning, this.#pool, this.#steps)
    const parts = [this.#pool, seats, this.#steps, this.#tenants, this.#waiting, buggify] as const
    this.#seats = seats
    this.#preemption = new Preemption(...parts)
  }

  /** A snapshot; O(1). */
  get stats(): SchedulerStats {
    return {
      numWaiting: this.#waiting.length,
      numWaitingTokens: this.#waiting.numTokens,
      numRunning: this.#seats.running.length + this.#steps.leaving.length,
      numStepsInFlight: this.#steps.length,
      numBlocks: this.#pool.numBlocks,
      numFreeBlocks: this.#pool.numFreeBlocks,
      numCachedBlocks: this.#pool.numCachedBlocks,
      numUsedBlocks: this.#pool.numUsedBlocks,
      numSteps: this.#steps.numPlanned,
      numPreemptions: this.#preemption.numPreemptions,
      numEvictions: this.#pool.numEvictions,
      numPrefixHitTokens: this.#numPrefixHitTokens,
      numQueueTimeouts: this.#numQueueTimeouts,
    }
  }

  /** Every tenant that has a sequence. */
  tenantStats(): TenantStats[] {
    return Array.from(this.#tenants.values(), ({ tenant, numWaiting, numRunning, deficit }) => {
      const numCachedBlocks = this.#pool.numCachedBlocksOf(tenant)
      return { tenant, numWaiting, numRunning, numCachedBlocks, deficit }
    })
  }

  get lastStep(): LastStepStats {
    return this.#steps.last
  }

  /** Plans that wait for their commit. */
  get numStepsInFlight(): number {
    return this.#steps.length
  }

  /** Whether a prompt of this length can be answered with at least one token. */
  canFit(numPromptTokens: number): boolean {
    return numPromptTokens >= 1 && this.maxTokensFor(numPromptTokens) >= 1
  }

  /** The most new tokens a prompt of this length can get. */
  maxTokensFor(numPromptTokens: number): number {
    return maxTokensFor(this.limits, numPromptTokens)
  }

  /** Whether the line has room for a request. To be asked before `add`: no is the client's answer. */
  canQueue(numPromptTokens: number, numChoices = 1): boolean {
    const { maxWaiting, maxWaitingTokens } = this.limits
    const numTokens = this.#waiting.numTokens + numChoices * numPromptTokens
    return this.#waiting.length + numChoices <= maxWaiting && numTokens <= maxWaitingTokens
  }

  /**
   * Puts a new request in line, each choice as a sequence of its own; returns the first. They hold
   * nothing until they are admitted. `nowMs` is when it came, on any clock that only goes forward.
   */
  add(spec: SequenceSpec, nowMs = 0): Sequence {
    const { numChoices = 1, promptTokenIds } = spec
    checkSpec(spec, this.maxTokensFor(promptTokenIds.length))
    for (let id = spec.id; id < spec.id + numChoices; id++) {
      assert(!this.#sequences.has(id), 'a sequence with this id lives already', id)
    }
    const canQueue = this.canQueue(promptTokenIds.length, numChoices)
    assert(canQueue, 'a request was added that the line has no room for', spec.id)
    const account = this.#tenants.open(spec.tenant)
    const choices = Array.from({ length: numChoices }, (_, choice) => {
      return new Sequence(spec, this.limits.blockSize, account, choice, nowMs)
    })
    for (const sequence of choices) {
      sequence.choices = choices
      this.#sequences.set(sequence.id, sequence)
      this.#waiting.add(sequence)
    }
    return choices[0]!
  }

  /**
   * Ends a sequence, whatever it is doing; false if no sequence with this id lives (any more).
   * It has no outcome afterwards. If steps in flight have it, its blocks and its sampler slot go
   * back with the commit of the newest of them, because until then they may be written to.
   */
  abort(id: number): boolean {
    const sequence = this.#sequences.get(id)
    if (sequence === undefined) return false
    if (sequence.status === 'running') this.#seats.leave(sequence)
    else this.#waiting.remove(sequence)
    this.#forget(sequence)
    return true
  }

  /** Ends every choice of a request; `firstId` is the first one's id. Returns how many lived. */
  abortGroup(firstId: number, numChoices: number): number {
    let numAborted = 0
    for (let choice = 0; choice < numChoices; choice++) {
      if (this.abort(firstId + choice)) numAborted++
    }
    return numAborted
  }

  /**
   * Ends what has waited longer than `maxQueueMs` for its request to begin. A sequence that was
   * preempted, or of whose request another choice has begun, waits on.
   */
  expireWaiting(nowMs: number): StepOutcome[] {
    const outcomes: StepOutcome[] = []
    let sequence = this.#waiting.firstArrived
    while (sequence !== undefined && nowMs - sequence.arrivedMs > this.limits.maxQueueMs) {
      this.#waiting.remove(sequence)
      this.#forget(sequence)
      outcomes.push({ sequence, tokenId: -1, finishReason: 'queue_timeout' })
      sequence = this.#waiting.firstArrived
    }
    this.#numQueueTimeouts += outcomes.length
    return outcomes
  }

  /** From now on no prompt finds what was computed before. Returns how many blocks that freed. */
  resetPrefixCache(): number {
    return this.#pool.reset()
  }

  /**
   * Plans the next step: every decode, then as much of the prompts as the budget has tokens for,
   * those that were begun before new ones.
   *
   * undefined means that nothing can be planned now: with steps in flight, the oldest must be
   * committed first; with none, no sequence waits or runs.
   */
  schedule(): StepPlan | undefined {
    const plan = this.#steps.prepare()
    if (this.#steps.length > 0 && this.#buggify('late_plan')) return undefined
    if (this.#buggify('cache_reset')) this.#pool.reset()
    const maxAdmitted = this.#preemption.makeRoom()
    if (maxAdmitted < 0) return undefined
    this.#scheduleDecodes(plan)
    this.#schedulePrompts(plan, maxAdmitted)
    plan.seal()

    if (plan.rows.length === 0) {
      const numLive = this.#sequences.size
      assert(numLive === 0 || this.#steps.length > 0, 'no sequence could run, of', numLive)
      return undefined
    }
    this.#steps.launch()
    return plan
  }

  /**
   * Takes over the results of the oldest step in flight: sampledTokenIds[i] belongs to
   * plan.rows[i] and is read only if that row samples; a negative one means that the sequence
   * failed. Rows of sequences that have ended meanwhile are thrown away. Blocks that became full
   * are offered for reuse. plan.outcomes says what came of it.
   *
   * `durationMs` is how long the device worked on this step: `maxStepMs` is kept by it.
   */
  commit(plan: StepPlan, sampledTokenIds: Int32Array, durationMs?: number): void {
    const numRows = plan.rows.length
    const numResults = sampledTokenIds.length
    assert(numResults >= numRows, 'a step was committed with too few results', numResults)
    this.#steps.land(plan, this.#pool, durationMs)
    this.#withdrawFailed(plan, sampledTokenIds)
    for (let i = 0; i < numRows; i++) this.#commitRow(plan, plan.rows[i]!, sampledTokenIds[i]!)
    plan.sealOutcomes()
    this.#seats.giveBackLeft()
    if (durationMs !== undefined) {
      this.#budget.observe(plan.numDecodes, plan.numTokens - plan.numDecodes, durationMs)
    }
    this.#pool.checkAccounting()
    this.#seats.checkAccounting()
  }

  /**
   * Throws unless everything the scheduler keeps is consistent. O(pool + tokens that run): for
   * tests after each step, for production when idle.
   */
  checkIntegrity(): void {
    checkIntegrity({
      pool: this.#pool,
      samplerSlots: this.#seats.samplerSlots,
      sequences: this.#sequences,
      tenants: this.#tenants,
      waiting: this.#waiting,
      running: this.#seats.running,
      steps: this.#steps,
    })
  }

  /** Plans every decode, and lists the prompts that go on. */
  #scheduleDecodes(plan: StepPlan): void {
    this.#begunPrompts.clear()
    for (let s = this.#seats.running.first; s !== undefined; s = s.next) {
      if (s.isDecode) {
        if (needsBlock(s, this.limits.blockSize)) growTable(s, this.#pool)
        this.#plan(plan, s, 1)
      } else if (s.numUnplannedTokens > 1) {
        this.#begunPrompts.push(s)
      }
    }
    plan.numDecodes = plan.numTokens
    this.#begunPrompts.sort()
  }

  #plan(plan: StepPlan, sequence: Sequence, numTokens: number): void {
    plan.add(sequence, numTokens)
    this.#tenants.charge(sequence.account, numTokens)
  }

  /** Fills up the step: prompts that were begun, and new ones behind those that are as good. */
  #schedulePrompts(plan: StepPlan, maxAdmitted: number): void {
    const numDecodes = plan.numTokens
    const chunk = this.#buggify('small_chunk') ? 1 : this.#budget.chunkTokens(numDecodes)
    const maxTokens = Math.min(this.limits.maxTokensPerStep, numDecodes + chunk)
    let mayAdmit = !(numDecodes > 0 && this.#buggify('no_admission'))
    for (let i = 0; i < this.#begunPrompts.length; i++) {
      const sequence = this.#begunPrompts.at(i)
      mayAdmit &&= this.#admitWaiting(plan, maxTokens, maxAdmitted, i)
      const numTokensLeft = maxTokens - plan.numTokens
      if (numTokensLeft === 0) return
      this.#plan(plan, sequence, Math.min(sequence.numUnplannedTokens, numTokensLeft))
    }
    if (mayAdmit) this.#admitWaiting(plan, maxTokens, maxAdmitted, this.#begunPrompts.length)
  }

  /**
   * Admits who may go before the begun prompts from `next` on. false if the first in line has to
   * wait for blocks: then nobody is admitted. Letting a short prompt overtake a long one raises
   * throughput a little and lets the long one starve (docs/adr/0004-first-come-first-served.md).
   */
  #admitWaiting(plan: StepPlan, maxTokens: number, maxAdmitted: number, next: number): boolean {
    while (plan.numAdmitted < maxAdmitted) {
      const numTokensLeft = maxTokens - plan.numTokens
      const sequence = this.#waiting.first
      if (numTokensLeft === 0 || sequence === undefined) return true
      if (!this.#begunPrompts.mayOvertake(sequence, next)) return true
      const isMiss = this.#buggify('cache_miss')
      const taken = this.#seats.hasFree
        ? takeTable(sequence, this.#pool, this.#seats.running, plan, isMiss)
        : 'no_room'
      this.#preemption.noteAdmission(sequence, taken !== 'no_room')
      if (taken !== 'taken') return false

      this.#begunPrompts.countOvertake(next)
      this.#waiting.admit(sequence)
      this.#seats.take(sequence)
      if (sequence.numPreemptions === 0) sequence.numCachedTokens = sequence.numComputedTokens
      this.#numPrefixHitTokens += sequence.numComputedTokens
      this.#plan(plan, sequence, Math.min(sequence.numUnplannedTokens, numTokensLeft))
      plan.addAdmitted(sequence)
    }
    return true
  }

  /** Before any row is committed, so that none takes a block over from one that failed. */
  #withdrawFailed({ rows }: StepPlan, sampledTokenIds: Int32Array): void {
    for (let i = 0; i < rows.length; i++) {
      const { samples, sequence } = rows[i]!
      if (samples && sampledTokenIds[i]! < 0) withdrawBlocks(sequence, this.#pool)
    }
  }

  #commitRow(plan: StepPlan, row: StepRow, sampledTokenId: number): void {
    const { sequence } = row
    // It ended while this step was in flight: what the step did for it is thrown away.
    if (sequence.status === 'finished') return
    if (row.samples && sampledTokenId < 0) {
      this.#finish(plan, sequence, -1, 'failed')
      return
    }
    sequence.numComputedTokens += row.numTokens
    const isRead = this.#steps.has(sequence)
    publishFullBlocks(sequence, this.#pool, isRead ? this.#steps.fencedBlocks : undefined)
    if (!row.samples) return

    sequence.numPendingTokens--
    const isStop = sequence.isStop(sampledTokenId)
    sequence.appendToken(sampledTokenId)
    if (isStop) this.#finish(plan, sequence, sampledTokenId, 'stop')
    else if (sequence.numOutputTokens === sequence.maxTokens) {
      this.#finish(plan, sequence, sampledTokenId, 'length')
    } else plan.addOutcome(sequence, sampledTokenId, null)
  }

  #finish(plan: StepPlan, sequence: Sequence, tokenId: number, reason: SequenceEnd): void {
    this.#seats.leave(sequence)
    this.#forget(sequence)
    plan.addOutcome(sequence, tokenId, reason)
  }

  #forget(sequence: Sequence): void {
    sequence.status = 'finished'
    this.#sequences.delete(sequence.id)
    this.#tenants.closeIfIdle(sequence.account)
  }
}
