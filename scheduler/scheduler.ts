import { assert } from './assert.js'
import { BlockPool } from './block-pool.js'
import { growTable, needsBlock, publishFullBlocks, releaseTable } from './block-table.js'
import { FreeList } from './free-list.js'
import { checkIntegrity } from './integrity.js'
import { type ResolvedLimits, resolveLimits, type SchedulerLimits } from './limits.js'
import { Sequence, type SequenceSpec } from './sequence.js'
import { SequenceQueue } from './sequence-queue.js'
import { type SequenceEnd, StepPlan, type StepRow } from './step-plan.js'

export interface SchedulerStats {
  readonly numWaiting: number
  /** Sequences that hold blocks and a sampler slot, ended ones included while a step in flight has them. */
  readonly numRunning: number
  readonly numBlocks: number
  /** numFreeBlocks + numCachedBlocks + numUsedBlocks = numBlocks. */
  readonly numFreeBlocks: number
  /** Held by no sequence, kept for prefix hits, given up when room is needed. */
  readonly numCachedBlocks: number
  /** In at least one block table. */
  readonly numUsedBlocks: number
  /** Totals since the start. */
  readonly numSteps: number
  readonly numPreemptions: number
  readonly numEvictions: number
  /** Tokens that admitted sequences did not have to compute. */
  readonly numPrefixHitTokens: number
}

/** At most one block in this many is kept back from new sequences for those that run. */
const reserveDivisor = 64

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
  readonly #samplerSlots: FreeList
  /** Every sequence that has not ended, by id. */
  readonly #sequences = new Map<number, Sequence>()
  /** In order of arrival. */
  readonly #waiting = new SequenceQueue()
  /** In order of admission. */
  readonly #running = new SequenceQueue()
  /** Ended, but a step in flight still has them: they keep their blocks and slots until then. */
  readonly #leaving = new SequenceQueue()
  /** Blocks that a twin took the place of while a step in flight reads them; each held once. */
  readonly #fencedBlocks: number[] = []
  readonly #plans: readonly [StepPlan, StepPlan] = [new StepPlan(), new StepPlan()]
  /**
   * Seats for running sequences. Not more than a step has tokens: so every decode runs in every
   * step, and the oldest prefill always has a token left to compute.
   */
  readonly #maxRunning: number
  #numSteps = 0
  #numCommits = 0
  #numPreemptions = 0
  #numPrefixHitTokens = 0

  /** The pool is an argument so that tests can look inside. */
  constructor(
    limits: SchedulerLimits,
    pool = new BlockPool(limits.numBlocks, limits.blockSize, limits.hashSeed),
  ) {
    this.limits = resolveLimits(limits)
    this.#pool = pool
    this.#maxRunning = Math.min(limits.maxSequences, limits.maxTokensPerStep)
    this.#samplerSlots = new FreeList(limits.maxSequences)
    for (let slot = 0; slot < limits.maxSequences; slot++) this.#samplerSlots.pushBack(slot)
  }

  /** A snapshot; O(1). */
  get stats(): SchedulerStats {
    return {
      numWaiting: this.#waiting.length,
      numRunning: this.#running.length + this.#leaving.length,
      numBlocks: this.#pool.numBlocks,
      numFreeBlocks: this.#pool.numFreeBlocks,
      numCachedBlocks: this.#pool.numCachedBlocks,
      numUsedBlocks: this.#pool.numUsedBlocks,
      numSteps: this.#numSteps,
      numPreemptions: this.#numPreemptions,
      numEvictions: this.#pool.numEvictions,
      numPrefixHitTokens: this.#numPrefixHitTokens,
    }
  }

  /** Plans that wait for their commit. */
  get numStepsInFlight(): number {
    return this.#numSteps - this.#numCommits
  }

  /** Whether a prompt of this length can be answered with at least one token. */
  canFit(numPromptTokens: number): boolean {
    return numPromptTokens >= 1 && this.maxTokensFor(numPromptTokens) >= 1
  }

  /**
   * The most new tokens a prompt of this length can get: what the context and the pool leave. With
   * maxTokens clamped to it, a sequence that is alone in the pool always finishes.
   */
  maxTokensFor(numPromptTokens: number): number {
    const { maxContextLen, numBlocks, blockSize } = this.limits
    return Math.max(0, Math.min(maxContextLen, numBlocks * blockSize) - numPromptTokens)
  }

  /** Puts a new sequence behind all others that wait. It holds nothing until it is admitted. */
  add(spec: SequenceSpec): Sequence {
    const { id, promptTokenIds, maxTokens } = spec
    const limit = this.maxTokensFor(promptTokenIds.length)
    assert(!this.#sequences.has(id), 'a sequence with this id lives already', id)
    assert(Number.isSafeInteger(spec.tenant), 'a tenant must be an integer below 2^53', spec.tenant)
    assert(promptTokenIds.length >= 1, 'a prompt needs at least one token; sequence', id)
    assert(
      Number.isInteger(maxTokens) && maxTokens >= 1 && maxTokens <= limit,
      `sequence ${id}: maxTokens must be 1 to maxTokensFor(prompt), which is ${limit}`,
      maxTokens,
    )
    const sequence = new Sequence(spec, this.limits.blockSize)
    this.#sequences.set(id, sequence)
    this.#waiting.pushBack(sequence)
    return sequence
  }

  /**
   * Ends a sequence, whatever it is doing; false if no sequence with this id lives (any more).
   * It has no outcome afterwards. If steps in flight have it, its blocks and its sampler slot go
   * back with the commit of the newest of them, because until then they may be written to.
   */
  abort(id: number): boolean {
    const sequence = this.#sequences.get(id)
    if (sequence === undefined) return false
    if (sequence.status === 'running') {
      this.#leave(sequence)
    } else {
      this.#waiting.remove(sequence)
      sequence.status = 'finished'
      this.#sequences.delete(id)
    }
    return true
  }

  /**
   * Plans the next step: every decode, then prefill chunks of running sequences, then new ones,
   * oldest first, until the token budget, the pool or the seats are used up.
   *
   * undefined means that nothing can be planned now: with steps in flight, the oldest must be
   * committed first; with none, no sequence waits or runs.
   */
  schedule(): StepPlan | undefined {
    const { numStepsInFlight } = this
    const isWithin = numStepsInFlight < this.limits.maxStepsInFlight
    assert(isWithin, 'a step was scheduled before one was committed; in flight', numStepsInFlight)
    const numPreemptionsBefore = this.#numPreemptions
    if (!this.#makeRoomForDecodes()) return undefined
    const plan = this.#plans[this.#numSteps % 2]!
    plan.clear(this.#numSteps + 1)
    this.#scheduleDecodes(plan)
    this.#schedulePrefills(plan)
    // Whoever was just preempted is first in line, and would only take back what was taken.
    if (this.#numPreemptions === numPreemptionsBefore) this.#admitWaiting(plan)
    plan.seal()

    if (plan.rows.length === 0) {
      const numLive = this.#sequences.size
      assert(numLive === 0 || numStepsInFlight > 0, 'no sequence could run, of', numLive)
      return undefined
    }
    this.#numSteps++
    return plan
  }

  /**
   * Takes over the results of the oldest step in flight: sampledTokenIds[i] belongs to
   * plan.rows[i] and is read only if that row samples; a negative one means that the sequence
   * failed. Rows of sequences that have ended meanwhile are thrown away. Blocks that became full
   * are offered for reuse. plan.outcomes says what came of it.
   */
  commit(plan: StepPlan, sampledTokenIds: Int32Array): void {
    const isOldest = plan === this.#plans[this.#numCommits % 2] && this.numStepsInFlight > 0
    assert(isOldest, 'a plan was committed that is not the oldest in flight', plan.stepNumber)
    const numRows = plan.rows.length
    const numResults = sampledTokenIds.length
    assert(numResults >= numRows, 'a step was committed with too few results', numResults)
    this.#numCommits++
    // They were fenced at the commit before, for this step.
    for (const blockId of this.#fencedBlocks) this.#pool.release(blockId)
    this.#fencedBlocks.length = 0
    for (let i = 0; i < numRows; i++) this.#commitRow(plan, plan.rows[i]!, sampledTokenIds[i]!)
    plan.sealOutcomes()
    this.#releaseLeaving()
    this.#pool.checkAccounting()
    const numSlots = this.#samplerSlots.length + this.#running.length + this.#leaving.length
    assert(numSlots === this.limits.maxSequences, 'sampler slots do not add up', numSlots)
  }

  /**
   * Throws unless everything the scheduler keeps is consistent. O(pool + tokens that run): for
   * tests after each step, for production when idle.
   */
  checkIntegrity(): void {
    checkIntegrity({
      pool: this.#pool,
      samplerSlots: this.#samplerSlots,
      sequences: this.#sequences,
      waiting: this.#waiting,
      running: this.#running,
      leaving: this.#leaving,
      fencedBlocks: this.#fencedBlocks,
      numSteps: this.#numSteps,
      numCommits: this.#numCommits,
    })
  }

  /**
   * Sees to it that the pool has a block for every decode that asks for one, at the expense of
   * newer sequences if need be. false while steps are in flight: their commits may free blocks, and
   * only then is every token of a sequence known that would be preempted.
   */
  #makeRoomForDecodes(): boolean {
    // Each decode asks for one block at most, so the count is only taken when the pool is tight.
    if (this.#pool.numAvailableBlocks >= this.#running.length) return true
    while (this.#countBlocksForDecodes() > this.#pool.numAvailableBlocks) {
      if (this.numStepsInFlight > 0) return false
      this.#preempt(this.#findNewestPreemptable())
    }
    return true
  }

  #countBlocksForDecodes(): number {
    let numBlocks = 0
    for (let s = this.#running.first; s !== undefined; s = s.next) {
      if (isDecode(s) && needsBlock(s, this.limits.blockSize)) numBlocks++
    }
    return numBlocks
  }

  #scheduleDecodes(plan: StepPlan): void {
    for (let s = this.#running.first; s !== undefined; s = s.next) {
      if (!isDecode(s)) continue
      if (needsBlock(s, this.limits.blockSize)) growTable(s, this.#pool)
      plan.add(s, 1)
    }
    plan.numDecodes = plan.numTokens
  }

  /** Continues prompts that are not computed yet. Their blocks were taken at admission. */
  #schedulePrefills(plan: StepPlan): void {
    for (let s = this.#running.first; s !== undefined; s = s.next) {
      const numTokensLeft = this.limits.maxTokensPerStep - plan.numTokens
      if (numTokensLeft === 0) return
      if (s.numUnplannedTokens === 1) continue
      plan.add(s, Math.min(s.numUnplannedTokens, numTokensLeft))
    }
  }

  /**
   * Strictly first come, first served: letting a short prompt overtake a long one raises
   * throughput a little and lets the long one starve (docs/adr/0004-first-come-first-served.md).
   */
  #admitWaiting(plan: StepPlan): void {
    while (this.#running.length < this.#maxRunning && this.#samplerSlots.length > 0) {
      const numTokensLeft = this.limits.maxTokensPerStep - plan.numTokens
      const sequence = this.#waiting.first
      if (numTokensLeft === 0 || sequence === undefined) return
      if (!this.#takeBlocks(sequence)) return

      this.#waiting.remove(sequence)
      this.#running.pushBack(sequence)
      sequence.status = 'running'
      sequence.samplerSlot = this.#samplerSlots.takeFront()
      if (sequence.numPreemptions === 0) sequence.numCachedTokens = sequence.numComputedTokens
      this.#numPrefixHitTokens += sequence.numComputedTokens
      plan.add(sequence, Math.min(sequence.numUnplannedTokens, numTokensLeft))
      plan.addAdmitted(sequence)
    }
  }

  /**
   * Fills the block table of a sequence that is about to run: published blocks as far as its tokens
   * match, new ones for the other tokens that are known. A sequence that was preempted too often
   * gets all it can ever need instead, so that it never needs another. Takes nothing if the pool
   * does not have enough; false then.
   */
  #takeBlocks(sequence: Sequence): boolean {
    const { blockSize, numBlocks } = this.limits
    const numNeeded = sequence.isProtected
      ? sequence.blockTable.length
      : Math.ceil(sequence.numTokens / blockSize)
    // Room for those that run to grow a little, before the newcomer would be preempted for it.
    const numReserved = Math.min(this.#running.length, Math.ceil(numBlocks / reserveDivisor))
    const numAvailable = this.#pool.numAvailableBlocks - numReserved
    if (numAvailable < 1) return false

    // The logits of the last token pick the next one, so it is computed even if it is cached. Its
    // block is then computed as a whole: a published block is shared, and never written again.
    const maxHits = Math.floor((sequence.numTokens - 1) / blockSize)
    const { tenant, tokenIds, blockTable } = sequence
    const numHits = this.#pool.matchPrefix(tenant, tokenIds, maxHits, blockTable)
    let numRevived = 0
    for (let i = 0; i < numHits; i++) if (this.#pool.isCached(blockTable[i]!)) numRevived++
    // A hit that nobody holds is available as well, until it is held here.
    if (numNeeded - numHits > numAvailable - numRevived) return false

    for (let i = 0; i < numHits; i++) this.#pool.share(blockTable[i]!)
    for (let i = numHits; i < numNeeded; i++) blockTable[i] = this.#pool.take()
    sequence.numBlocks = numNeeded
    sequence.numPublishedBlocks = numHits
    sequence.numComputedTokens = numHits * blockSize
    sequence.numPlannedTokens = numHits * blockSize
    return true
  }

  #findNewestPreemptable(): Sequence {
    let sequence = this.#running.last
    while (sequence?.isProtected) sequence = sequence.previous
    // Protected sequences ask for no blocks, so whoever asks can itself be preempted.
    assert(sequence !== undefined, 'no running sequence may be preempted')
    return sequence
  }

  /**
   * Takes everything from a running sequence and puts it back in line. All that wait are newer, so
   * the line stays in order of arrival. What it had computed stays cached while there is room.
   */
  #preempt(sequence: Sequence): void {
    this.#running.remove(sequence)
    this.#giveBack(sequence)
    sequence.status = 'waiting'
    sequence.numPreemptions++
    this.#numPreemptions++
    this.#waiting.pushFront(sequence)
  }

  #commitRow(plan: StepPlan, row: StepRow, sampledTokenId: number): void {
    const { sequence } = row
    // It ended while this step was in flight: what the step did for it is thrown away.
    if (sequence.status === 'finished') return
    if (row.samples && sampledTokenId < 0) {
      sequence.isSuspect = true
      this.#finish(plan, sequence, -1, 'failed')
      return
    }
    sequence.numComputedTokens += row.numTokens
    this.#publish(sequence)
    if (!row.samples) return

    sequence.numPendingTokens--
    const isStop = sequence.isStop(sampledTokenId)
    sequence.appendToken(sampledTokenId)
    if (isStop) this.#finish(plan, sequence, sampledTokenId, 'stop')
    else if (sequence.numOutputTokens === sequence.maxTokens) {
      this.#finish(plan, sequence, sampledTokenId, 'length')
    } else plan.addOutcome(sequence, sampledTokenId, null)
  }

  #publish(sequence: Sequence): void {
    const numFenced = this.#fencedBlocks.length
    publishFullBlocks(sequence, this.#pool, this.#fencedBlocks)
    if (this.#isInFlight(sequence)) return
    // No step reads the blocks any more that twins took the place of.
    while (this.#fencedBlocks.length > numFenced) this.#pool.release(this.#fencedBlocks.pop()!)
  }

  #finish(plan: StepPlan, sequence: Sequence, tokenId: number, reason: SequenceEnd): void {
    this.#leave(sequence)
    plan.addOutcome(sequence, tokenId, reason)
  }

  /** Ends a running sequence. What it holds goes back now, or with the newest step that has it. */
  #leave(sequence: Sequence): void {
    sequence.status = 'finished'
    this.#sequences.delete(sequence.id)
    this.#running.remove(sequence)
    if (this.#isInFlight(sequence)) this.#leaving.pushBack(sequence)
    else this.#giveBack(sequence)
  }

  #releaseLeaving(): void {
    let sequence = this.#leaving.first
    while (sequence !== undefined) {
      const { next }: Sequence = sequence
      if (!this.#isInFlight(sequence)) {
        this.#leaving.remove(sequence)
        this.#giveBack(sequence)
      }
      sequence = next
    }
  }

  #isInFlight(sequence: Sequence): boolean {
    return sequence.lastStep > this.#numCommits
  }

  /** The one way out of running: every block and the sampler slot go back. */
  #giveBack(sequence: Sequence): void {
    releaseTable(sequence, this.#pool)
    sequence.numPendingTokens = 0
    this.#samplerSlots.pushFront(sequence.samplerSlot)
    sequence.samplerSlot = -1
  }
}

/** Whether the next step computes one token of it, and not because of a limit. */
function isDecode(sequence: Sequence): boolean {
  return sequence.numUnplannedTokens === 1 && !sequence.isLastTokenPending
}
