import type { Scheduler } from '../../../scheduler/scheduler.js'
import type { StepOutcome, StepPlan } from '../../../scheduler/step-plan.js'
import type { SimulationConfig } from './config.js'
import type { SimulationCounts } from './counts.js'
import { fail, type Group, type Life } from './life.js'
import type { Random } from './random.js'
import { mix, runAlone, type SoloRequest } from './tags.js'
import type { Workload } from './workload.js'

type Abortable = 'waiting' | 'running' | 'inFlight'

/** Everybody who waits for an answer: they come, go, and compare what they get. */
export class Clients {
  /** Not ended, as the client sees it; in order of arrival. */
  readonly live = new Map<number, Life>()
  /** Ended while in flight; the model still works on them. */
  readonly leaving = new Map<number, Life>()
  /** Answers that came to their end, by id, if they are kept. */
  readonly answers: Map<number, readonly number[]> | undefined
  readonly counts: SimulationCounts
  readonly #random: Random
  readonly #config: SimulationConfig
  readonly #workload: Workload
  #nextId = 1
  #logHash = 0

  constructor(
    random: Random,
    config: SimulationConfig,
    workload: Workload,
    counts: SimulationCounts,
    keepsAnswers: boolean,
  ) {
    this.#random = random
    this.#config = config
    this.#workload = workload
    this.counts = counts
    this.answers = keepsAnswers ? new Map() : undefined
  }

  /** Over everything that was logged. */
  get logHash(): number {
    return this.#logHash
  }

  log(a: number, b: number): void {
    this.#logHash = mix(this.#logHash, mix(a, b))
  }

  find(id: number): Life {
    return this.live.get(id) ?? this.leaving.get(id) ?? fail(`sequence ${id} is long gone`)
  }

  arrive(scheduler: Scheduler, nowMs: number): void {
    if (!this.#random.chance(this.#config.arrivalRate)) return
    const numArrivals = this.#random.integer(1, this.#config.maxBurst)
    for (let i = 0; i < numArrivals && this.live.size < this.#config.maxLive; i++) {
      this.#submit(scheduler, nowMs)
    }
  }

  #submit(scheduler: Scheduler, nowMs: number): void {
    const request = this.#workload.nextRequest((n) => scheduler.maxTokensFor(n))
    const { numChoices, priority } = this.#workload.nextOptions()
    const numPromptTokens = request.promptTokenIds.length
    if (!scheduler.canFit(numPromptTokens)) fail('a prompt does not fit')
    const id = this.#nextId
    this.#nextId += numChoices
    const spec = { id, ...request, numChoices, priority }
    if (!this.#mayQueue(scheduler, numPromptTokens, numChoices)) {
      this.counts.numRefused++
      if (this.#random.chance(0.1) && !throws(() => scheduler.add(spec, nowMs))) {
        fail('a request was added that the line has no room for')
      }
      return
    }
    const { choices } = scheduler.add(spec, nowMs)
    const group = { firstId: id, numChoices, hasStarted: false }
    for (const sequence of choices) {
      const own = { ...request, seed: request.seed + sequence.choice }
      this.live.set(sequence.id, this.#begin(own, sequence, group, nowMs))
    }
  }

  #begin(request: SoloRequest, sequence: Life['sequence'], group: Group, arrivedMs: number): Life {
    return {
      request,
      solo: runAlone(request, this.#config.vocabSize),
      sequence,
      group,
      arrivedMs,
      isRunning: false,
      isWaiting: false,
      numPlannedTokens: 0,
      samplerSlot: -1,
      numPreemptions: 0,
      admission: 0,
      numCachedTokens: 0,
      numSeen: 0,
      verified: new Float64Array(sequence.blockTable.length),
    }
  }

  /** What `canQueue` says, after it was compared with those who are seen to wait. */
  #mayQueue(scheduler: Scheduler, numPromptTokens: number, numChoices: number): boolean {
    const { maxWaiting, maxWaitingTokens } = scheduler.limits
    let numWaiting = numChoices
    let numTokens = numChoices * numPromptTokens
    for (const { sequence } of this.live.values()) {
      if (sequence.status !== 'waiting') continue
      numWaiting++
      numTokens += sequence.numTokens
    }
    const may = scheduler.canQueue(numPromptTokens, numChoices)
    if (may !== (numWaiting <= maxWaiting && numTokens <= maxWaitingTokens)) {
      fail(`canQueue says ${may} to ${numWaiting} sequences and ${numTokens} tokens`)
    }
    return may
  }

  /** Ends whoever waited too long, and nobody else. */
  expire(scheduler: Scheduler, nowMs: number): void {
    const { maxQueueMs } = scheduler.limits
    const expired = scheduler.expireWaiting(nowMs)
    for (const { sequence, tokenId, finishReason } of expired) {
      const life = this.live.get(sequence.id) ?? fail(`the ended ${sequence.id} was given up`)
      const isLate = nowMs - life.arrivedMs > maxQueueMs && !life.group.hasStarted
      if (!isLate) fail(`sequence ${sequence.id} was given up too early`)
      if (tokenId !== -1 || finishReason !== 'queue_timeout') fail('a strange end in the queue')
      this.#end(life, 0)
      this.counts.numExpired++
    }
    if (maxQueueMs === Number.POSITIVE_INFINITY) return
    for (const { sequence, group, arrivedMs } of this.live.values()) {
      if (nowMs - arrivedMs > maxQueueMs && !group.hasStarted) fail(`${sequence.id} waits too long`)
    }
  }

  /** Aborts at most one sequence of a kind, sometimes twice; and now and then one long gone. */
  abortSome(scheduler: Scheduler, kind: Abortable, rate: number): void {
    if (rate === 0 || !this.#random.chance(rate)) return
    if (this.#random.chance(0.3) && scheduler.abort(this.#nextId)) fail('nobody was aborted')
    const candidates: Life[] = []
    for (const life of this.live.values()) if (kindOf(life) === kind) candidates.push(life)
    if (candidates.length === 0) return
    const life = this.#random.pick(candidates)
    const { id, numPreemptions } = life.sequence
    if (!scheduler.abort(id)) fail(`sequence ${id} could not be aborted`)
    this.#noteAborted(life, kind)
    if (this.#random.chance(0.3) && scheduler.abort(id)) fail(`${id} was aborted twice`)
    if (kind === 'inFlight') this.counts.numAbortedInFlight++
    else if (kind === 'running') this.counts.numAbortedRunning++
    else if (numPreemptions > 0) this.counts.numAbortedPreempted++
    else this.counts.numAbortedWaiting++
  }

  /** A client of several choices hangs up. */
  abortGroup(scheduler: Scheduler, rate: number): void {
    if (rate === 0 || this.live.size === 0 || !this.#random.chance(rate)) return
    this.#abortWhole(scheduler, this.#random.pick([...this.live.values()]).group)
    this.counts.numAbortedGroups++
  }

  /** All clients of a tenant hang up at once. */
  abortTenant(scheduler: Scheduler, rate: number): void {
    if (rate === 0 || this.live.size === 0 || !this.#random.chance(rate)) return
    const { tenant } = this.#random.pick([...this.live.values()]).request
    for (const life of [...this.live.values()]) {
      const { id } = life.sequence
      if (life.request.tenant === tenant && this.live.has(id))
        this.#abortWhole(scheduler, life.group)
    }
    this.counts.numVanishedTenants++
  }

  #abortWhole(scheduler: Scheduler, { firstId, numChoices }: Group): void {
    const lives: [Life, Abortable][] = []
    for (let id = firstId; id < firstId + numChoices; id++) {
      const life = this.live.get(id)
      if (life !== undefined) lives.push([life, kindOf(life)])
    }
    const numAborted = scheduler.abortGroup(firstId, numChoices)
    if (numAborted !== lives.length) fail(`${numAborted} of ${lives.length} choices were aborted`)
    for (const [life, kind] of lives) this.#noteAborted(life, kind)
  }

  #noteAborted(life: Life, kind: Abortable): void {
    const { id, status, numBlocks } = life.sequence
    if (status !== 'finished') fail(`an aborted sequence is ${status}`)
    this.live.delete(id)
    this.log(id, -2)
    if (kind === 'inFlight') this.leaving.set(id, life)
    else if (numBlocks > 0) fail(`the aborted sequence ${id} holds blocks`)
  }

  /** Compares one sampled token with the solo run. */
  receive(scheduler: Scheduler, outcome: StepOutcome, stepNumber: number): void {
    const { sequence, tokenId, finishReason } = outcome
    const life = this.live.get(sequence.id) ?? fail(`sequence ${sequence.id} ended before`)
    const { outputTokenIds, end } = life.solo
    this.log(sequence.id, tokenId)
    if (finishReason !== 'failed') {
      const expected = outputTokenIds[life.numSeen++]
      if (tokenId !== expected) fail(`sequence ${sequence.id} got ${tokenId}, not ${expected}`)
      if (sequence.numOutputTokens !== life.numSeen) fail('the output is miscounted')
    }
    const isOver = life.numSeen === outputTokenIds.length && (end !== 'failed' || tokenId === -1)
    if (finishReason !== (isOver ? end : null)) {
      fail(`sequence ${sequence.id} says ${finishReason} after ${life.numSeen} tokens`)
    }
    if (finishReason === null) return
    this.answers?.set(sequence.id, outputTokenIds)
    this.#end(life, stepNumber)
    if (scheduler.abort(sequence.id)) fail(`sequence ${sequence.id} was aborted after its end`)
    if (finishReason === 'failed') this.counts.numFailed++
    else this.counts.numFinished++
    if (sequence.numPreemptions === 2) this.counts.numProtected++
  }

  #end(life: Life, stepNumber: number): void {
    const { sequence } = life
    const { id } = sequence
    const isHolding = sequence.numBlocks > 0 || sequence.samplerSlot !== -1
    const isInFlight = life.isRunning && sequence.lastStep > stepNumber
    if (isHolding !== isInFlight || sequence.status !== 'finished') {
      fail(`sequence ${id} holds something after its end`)
    }
    this.live.delete(id)
    if (!isHolding) return
    this.leaving.set(id, life)
    this.counts.numWastedRows++
  }

  /** After a commit: whoever is in no step in flight any more has given back everything. */
  checkLeaving(stepNumber: number): void {
    for (const [id, { sequence }] of this.leaving) {
      const isInFlight = sequence.lastStep > stepNumber
      const isHolding = sequence.numBlocks > 0 || sequence.samplerSlot !== -1
      if (isInFlight !== isHolding) fail(`the ended sequence ${id} holds blocks`)
      if (!isInFlight) this.leaving.delete(id)
    }
  }

  /** Notes what a new plan made of everybody. */
  notePlan(plan: StepPlan, numAdmissions: number): void {
    for (let i = 0; i < plan.admitted.length; i++) {
      const life = this.live.get(plan.admitted[i]!.id)!
      life.admission = numAdmissions + i
      life.group.hasStarted = true
    }
    for (const { sequence, start, numTokens } of plan.rows) {
      const life = this.live.get(sequence.id)!
      if (!life.isRunning && sequence.numPreemptions === 0) life.numCachedTokens = start
      const { numCachedTokens, numPromptTokens } = sequence
      const isHonest = numCachedTokens === life.numCachedTokens && numCachedTokens < numPromptTokens
      if (!isHonest) fail(`sequence ${sequence.id} claims ${numCachedTokens} cached tokens`)
      this.log(sequence.id, numTokens)
      this.log(sequence.numBlocks, sequence.blockTable[sequence.numBlocks - 1]!)
    }
    for (const life of this.live.values()) {
      const { sequence } = life
      life.isRunning = sequence.status === 'running'
      life.isWaiting = !life.isRunning
      life.numPlannedTokens = sequence.numPlannedTokens
      life.samplerSlot = sequence.samplerSlot
      life.numPreemptions = sequence.numPreemptions
    }
  }

  /** The engine died: everybody is told so, and nothing is left. */
  loseAll(): void {
    this.live.clear()
    this.leaving.clear()
  }
}

function kindOf({ sequence }: Life): Abortable {
  if (sequence.status === 'waiting') return 'waiting'
  return sequence.numPlannedTokens > sequence.numComputedTokens ? 'inFlight' : 'running'
}

export function throws(action: () => void): boolean {
  try {
    action()
    return false
  } catch {
    return true
  }
}
