import { assert } from './assert.js'
import { rootParent } from './block-hash.js'
import { BlockPool } from './block-pool.js'
import { FreeList } from './free-list.js'
import { checkIntegrity } from './integrity.js'
import { Sequence, SequenceQueue, type SequenceSpec } from './sequence.js'
import { type SequenceEnd, StepPlan } from './step-plan.js'

/** What the scheduler may use. Fixed for its life. */
export interface SchedulerLimits {
  /** Tokens in a KV block. */
  readonly blockSize: number
  /** KV blocks in the pool. */
  readonly numBlocks: number
  /** New tokens a step computes at most, decodes and prefill chunks together. */
  readonly maxTokensPerStep: number
  /** Sampler slots; sequences that run at once at most. */
  readonly maxSequences: number
  /** Prompt and output of one sequence at most. */
  readonly maxContextLen: number
  /** An integer below 2^53 that clients cannot know; it only steers where prefix keys are stored. */
  readonly hashSeed: number
}

export interface SchedulerStats {
  readonly numWaiting: number
  /** Sequences that hold blocks and a sampler slot, aborted ones included until their commit. */
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
 *   add, abort   at any time between the calls below, also while a step is in flight
 *   schedule     a plan for the next step, or undefined if nobody is here
 *   commit       what the step sampled; may finish sequences
 *
 * One step is in flight at a time: each plan is committed before the next `schedule`.
 *
 * A broken invariant throws a plain Error. The scheduler is not to be used after one.
 */
export class Scheduler {
  readonly limits: SchedulerLimits
  readonly #pool: BlockPool
  readonly #samplerSlots: FreeList
  /** Every sequence that has not ended, by id. */
  readonly #sequences = new Map<number, Sequence>()
  /** In order of arrival. */
  readonly #waiting = new SequenceQueue()
  /** In order of admission. */
  readonly #running = new SequenceQueue()
  readonly #plan = new StepPlan()
  /**
   * Seats for running sequences. Not more than a step has tokens: so every decode runs in every
   * step, and the oldest prefill always has a token left to compute.
   */
  readonly #maxRunning: number
  #isInFlight = false
  #numSteps = 0
  #numPreemptions = 0
  #numPrefixHitTokens = 0

  /** The pool is an argument so that tests can look inside. */
  constructor(
    limits: SchedulerLimits,
    pool = new BlockPool(limits.numBlocks, limits.blockSize, limits.hashSeed),
  ) {
    for (const [name, value] of Object.entries(limits)) {
      assert(Number.isSafeInteger(value), `the scheduler's ${name} must be an integer`, value)
      assert(value >= 1 || name === 'hashSeed', `the scheduler's ${name} must be 1 or more`, value)
    }
    this.limits = limits
    this.#pool = pool
    this.#maxRunning = Math.min(limits.maxSequences, limits.maxTokensPerStep)
    this.#samplerSlots = new FreeList(limits.maxSequences)
    for (let slot = 0; slot < limits.maxSequences; slot++) this.#samplerSlots.pushBack(slot)
  }

  /** A snapshot; O(1). */
  get stats(): SchedulerStats {
    return {
      numWaiting: this.#waiting.length,
      numRunning: this.#running.length,
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
   * It has no outcome afterwards. If the step in flight runs it, its blocks and its sampler slot
   * go back when that step is committed, because until then the step may write to them.
   */
  abort(id: number): boolean {
    const sequence = this.#sequences.get(id)
    if (sequence === undefined) return false
    this.#sequences.delete(id)
    if (sequence.status === 'waiting') this.#waiting.remove(sequence)
    else if (sequence.numScheduledTokens === 0) this.#giveBack(sequence, 'reusable')
    sequence.status = 'finished'
    return true
  }

  /**
   * Plans the next step: every decode, then prefill chunks of running sequences, then new ones,
   * oldest first, until the token budget, the pool or the seats are used up. The same object each
   * time. undefined means that no sequence waits or runs.
   */
  schedule(): StepPlan | undefined {
    assert(!this.#isInFlight, 'a step was scheduled before the last one was committed')
    const plan = this.#plan
    const numPreemptionsBefore = this.#numPreemptions
    plan.clear()
    this.#scheduleDecodes(plan)
    this.#schedulePrefills(plan)
    // Whoever was just preempted is first in line, and would only take back what was taken.
    if (this.#numPreemptions === numPreemptionsBefore) this.#admitWaiting(plan)
    plan.seal()

    if (plan.sequences.length === 0) {
      const numLive = this.#running.length + this.#waiting.length
      assert(numLive === 0, 'no sequence could run, of', numLive)
      return undefined
    }
    this.#isInFlight = true
    this.#numSteps++
    return plan
  }

  /**
   * Takes over the results of the step in flight: sampledTokenIds[i] belongs to plan.sequences[i]
   * and is read only if that sequence samples; a negative one means that the sequence failed.
   * Blocks that became full are offered for reuse. plan.outcomes says what came of it.
   */
  commit(plan: StepPlan, sampledTokenIds: Int32Array): void {
    assert(this.#isInFlight && plan === this.#plan, 'a plan was committed that is not in flight')
    const numSequences = plan.sequences.length
    const numResults = sampledTokenIds.length
    assert(numResults >= numSequences, 'a step was committed with too few results', numResults)
    this.#isInFlight = false
    for (let i = 0; i < numSequences; i++) {
      this.#commitSequence(plan, plan.sequences[i]!, sampledTokenIds[i]!)
    }
    plan.sealOutcomes()
    this.#pool.checkAccounting()
    const numSlots = this.#samplerSlots.length + this.#running.length
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
      isInFlight: this.#isInFlight,
    })
  }

  #scheduleDecodes(plan: StepPlan): void {
    let sequence = this.#running.first
    while (sequence !== undefined) {
      const isDecode = sequence.numUncomputedTokens === 1
      if (isDecode && !this.#makeRoom(sequence)) {
        // It is the newest that may be preempted itself: behind it are only protected ones.
        const next: Sequence | undefined = sequence.next
        this.#preempt(sequence)
        sequence = next
        continue
      }
      if (isDecode) plan.add(sequence, 1)
      sequence = sequence.next
    }
    plan.numDecodes = plan.numTokens
  }

  /** Continues prompts that are not computed yet. Their blocks were taken at admission. */
  #schedulePrefills(plan: StepPlan): void {
    for (let sequence = this.#running.first; sequence !== undefined; sequence = sequence.next) {
      const numTokensLeft = this.limits.maxTokensPerStep - plan.numTokens
      if (numTokensLeft === 0) return
      if (sequence.numScheduledTokens > 0) continue
      plan.add(sequence, Math.min(sequence.numUncomputedTokens, numTokensLeft))
    }
  }

  /**
   * Strictly first come, first served: letting a short prompt overtake a long one raises
   * throughput a little and lets the long one starve (docs/adr/0004-first-come-first-served.md).
   */
  #admitWaiting(plan: StepPlan): void {
    while (this.#running.length < this.#maxRunning) {
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
      plan.add(sequence, Math.min(sequence.numUncomputedTokens, numTokensLeft))
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
    return true
  }

  /**
   * Gives a decode the block that its token goes to, at the expense of newer sequences if need be.
   * false if there is nobody newer who may be preempted.
   */
  #makeRoom(sequence: Sequence): boolean {
    if (sequence.numTokens <= sequence.numBlocks * this.limits.blockSize) return true
    let blockId = this.#pool.take()
    while (blockId === -1) {
      const victim = this.#findNewestPreemptable()
      if (victim === sequence) return false
      this.#preempt(victim)
      blockId = this.#pool.take()
    }
    sequence.blockTable[sequence.numBlocks++] = blockId
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
    assert(sequence.numScheduledTokens === 0, 'a planned sequence was preempted', sequence.id)
    this.#giveBack(sequence, 'reusable')
    sequence.status = 'waiting'
    sequence.numPreemptions++
    this.#numPreemptions++
    this.#waiting.pushFront(sequence)
  }

  #commitSequence(plan: StepPlan, sequence: Sequence, sampledTokenId: number): void {
    const isSampled = sequence.samples
    const hasFailed = isSampled && sampledTokenId < 0
    sequence.numComputedTokens += sequence.numScheduledTokens
    sequence.numScheduledTokens = 0
    if (!hasFailed) this.#publishFullBlocks(sequence)

    if (sequence.status === 'finished') {
      // Aborted while its step was in flight. Only now can nothing write to its blocks any more.
      this.#giveBack(sequence, hasFailed ? 'suspect' : 'reusable')
    } else if (hasFailed) {
      this.#finish(plan, sequence, -1, 'failed')
    } else if (isSampled) {
      const isStop = sequence.isStop(sampledTokenId)
      sequence.appendToken(sampledTokenId)
      if (isStop) this.#finish(plan, sequence, sampledTokenId, 'stop')
      else if (sequence.numOutputTokens === sequence.maxTokens) {
        this.#finish(plan, sequence, sampledTokenId, 'length')
      } else plan.addOutcome(sequence, sampledTokenId, null)
    }
  }

  /** Offers the blocks for reuse that this step filled: computed and never to be written again. */
  #publishFullBlocks(sequence: Sequence): void {
    const { tenant, tokenIds, blockTable } = sequence
    const { blockSize } = this.limits
    let start = sequence.numPublishedBlocks * blockSize
    while (start + blockSize <= sequence.numComputedTokens) {
      const i = sequence.numPublishedBlocks++
      const parentId = i === 0 ? rootParent : blockTable[i - 1]!
      blockTable[i] = this.#pool.publish(blockTable[i]!, parentId, tenant, tokenIds, start)
      start += blockSize
    }
  }

  #finish(plan: StepPlan, sequence: Sequence, tokenId: number, reason: SequenceEnd): void {
    this.#giveBack(sequence, reason === 'failed' ? 'suspect' : 'reusable')
    sequence.status = 'finished'
    this.#sequences.delete(sequence.id)
    plan.addOutcome(sequence, tokenId, reason)
  }

  /** The one way out of running: every block, the sampler slot and the place go back. */
  #giveBack(sequence: Sequence, content: 'reusable' | 'suspect'): void {
    // From the end, so that the deepest block of a chain is evicted first.
    for (let i = sequence.numBlocks - 1; i >= 0; i--) {
      const blockId = sequence.blockTable[i]!
      if (content === 'reusable') this.#pool.release(blockId)
      else this.#pool.discard(blockId)
    }
    sequence.numBlocks = 0
    sequence.numPublishedBlocks = 0
    sequence.numComputedTokens = 0
    this.#samplerSlots.pushFront(sequence.samplerSlot)
    sequence.samplerSlot = -1
    this.#running.remove(sequence)
  }
}
