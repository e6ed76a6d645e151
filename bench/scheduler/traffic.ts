import { Scheduler } from '../../scheduler/scheduler.js'
import type { Sequence } from '../../scheduler/sequence.js'
import type { StepPlan } from '../../scheduler/step-plan.js'
import { Random } from '../../test/scheduler/simulation/random.js'
import type { CostModel } from './cost-model.js'

/** What comes, and what it meets. */
export interface TrafficOptions {
  readonly requestsPerSecond: number
  readonly numPromptTokens: number
  readonly numOutputTokens: number
  /** Share of a prompt that all requests of a tenant have in common, 0 to 1. */
  readonly sharedShare: number
  readonly numTenants: number
  readonly seconds: number
  readonly seed: number
  readonly numBlocks: number
  readonly maxSequences: number
  readonly maxTokensPerStep: number
  readonly maxStepMs: number | undefined
  readonly maxWaiting: number
  /** What a request must keep to count as served well. */
  readonly goodTtftMs: number
  readonly goodTpotMs: number
}

export interface TrafficReport {
  readonly numRequests: number
  readonly numRefused: number
  readonly numFinished: number
  readonly numGood: number
  readonly numSteps: number
  readonly numOutputTokens: number
  readonly simulatedMs: number
  /** Per finished request. */
  readonly ttftMs: Float64Array
  readonly tpotMs: Float64Array
  readonly hitRate: number
  /** Share of the pool's blocks that is in use, mean and maximum over time. */
  readonly poolUse: { readonly mean: number; readonly max: number }
  readonly deviceUse: number
  readonly numPreemptions: number
}

interface Client {
  readonly arrivedMs: number
  firstMs: number
  readonly numTokens: number
}

const blockSize = 16

/**
 * Runs the scheduler that serves against a device that is only a table of step times: requests come
 * at random moments (Poisson), answers end by length, and the clock jumps from step to step.
 */
export class Traffic {
  readonly #options: TrafficOptions
  readonly #cost: CostModel
  readonly #random: Random
  readonly #scheduler: Scheduler
  readonly #clients = new Map<number, Client>()
  readonly #results: Int32Array
  readonly #ttftMs: number[] = []
  readonly #tpotMs: number[] = []
  readonly #plans: { plan: StepPlan; submittedMs: number; durationMs: number }[] = []
  #nowMs = 0
  #deviceFreeMs = 0
  #nextArrivalMs = 0
  #nextId = 1
  #counts = { requests: 0, refused: 0, good: 0, outputTokens: 0, promptTokens: 0 }
  #busyMs = 0
  #usedBlockMs = 0
  #maxUsedBlocks = 0

  constructor(options: TrafficOptions, cost: CostModel) {
    this.#options = options
    this.#cost = cost
    this.#random = new Random(options.seed)
    const { numBlocks, maxSequences, maxTokensPerStep, maxStepMs, maxWaiting } = options
    this.#scheduler = new Scheduler({
      blockSize,
      numBlocks,
      maxSequences,
      maxTokensPerStep,
      maxContextLen: 131_072,
      hashSeed: options.seed,
      maxStepsInFlight: 2,
      maxWaiting,
      ...(maxStepMs === undefined ? {} : { maxStepMs }),
    })
    this.#results = new Int32Array(maxSequences).fill(1)
    this.#drawArrival()
  }

  /** Arrivals for so many seconds, then until everybody is served. */
  run(): TrafficReport {
    const endMs = this.#options.seconds * 1000
    for (;;) {
      this.#arrive(endMs)
      while (this.#plans.length < 2 && this.#plan());
      if (this.#plans.length > 0) this.#finishStep()
      else if (this.#nextArrivalMs <= endMs) this.#nowMs = this.#nextArrivalMs
      else return this.#report()
    }
  }

  #drawArrival(): void {
    const gap = -Math.log(1 - this.#random.fraction()) / this.#options.requestsPerSecond
    this.#nextArrivalMs += 1000 * gap
  }

  /** Everybody who has come by now. */
  #arrive(endMs: number): void {
    while (this.#nextArrivalMs <= this.#nowMs && this.#nextArrivalMs <= endMs) {
      this.#counts.requests++
      this.#submit(this.#nextArrivalMs)
      this.#drawArrival()
    }
  }

  #submit(arrivedMs: number): void {
    const { numTenants, sharedShare } = this.#options
    const numPromptTokens = this.#draw(this.#options.numPromptTokens)
    const numTokens = this.#draw(this.#options.numOutputTokens)
    if (!this.#scheduler.canQueue(numPromptTokens)) {
      this.#counts.refused++
      return
    }
    const id = this.#nextId++
    const tenant = this.#random.integer(0, numTenants - 1)
    const promptTokenIds = new Int32Array(numPromptTokens).fill(7)
    // What is not shared begins with a token that nobody else has there.
    const numShared = Math.floor(this.#options.numPromptTokens * sharedShare)
    if (numShared < numPromptTokens) promptTokenIds[numShared] = 8 + id
    const maxTokens = Math.min(numTokens, this.#scheduler.maxTokensFor(numPromptTokens))
    const ends = { minTokens: 0, stopTokenIds: new Int32Array(0), ignoreStopTokens: true }
    this.#scheduler.add({ id, tenant, promptTokenIds, maxTokens, ...ends }, arrivedMs)
    this.#clients.set(id, { arrivedMs, firstMs: 0, numTokens: maxTokens })
    this.#counts.promptTokens += numPromptTokens
  }

  /** Half to one and a half times as much as is usual. */
  #draw(mean: number): number {
    return Math.max(1, Math.round(mean * (0.5 + this.#random.fraction())))
  }

  #plan(): boolean {
    const plan = this.#scheduler.schedule()
    if (plan === undefined) return false
    this.#plans.push({ plan, submittedMs: this.#nowMs, durationMs: this.#cost.stepMs(plan) })
    return true
  }

  #finishStep(): void {
    const { plan, submittedMs, durationMs } = this.#plans.shift()!
    const { numUsedBlocks } = this.#scheduler.stats
    const doneMs = Math.max(this.#deviceFreeMs, submittedMs) + durationMs
    this.#maxUsedBlocks = Math.max(this.#maxUsedBlocks, numUsedBlocks)
    this.#usedBlockMs += numUsedBlocks * (doneMs - this.#nowMs)
    this.#busyMs += durationMs
    this.#nowMs = this.#deviceFreeMs = doneMs
    this.#scheduler.commit(plan, this.#results, durationMs)
    for (const { sequence, finishReason } of plan.outcomes) {
      this.#receive(sequence, finishReason !== null)
    }
  }

  #receive({ id }: Sequence, isLast: boolean): void {
    const client = this.#clients.get(id)!
    if (client.firstMs === 0) client.firstMs = this.#nowMs
    this.#counts.outputTokens++
    if (!isLast) return
    this.#clients.delete(id)
    const ttftMs = client.firstMs - client.arrivedMs
    const tpotMs = (this.#nowMs - client.firstMs) / Math.max(1, client.numTokens - 1)
    this.#ttftMs.push(ttftMs)
    this.#tpotMs.push(tpotMs)
    if (ttftMs <= this.#options.goodTtftMs && tpotMs <= this.#options.goodTpotMs) {
      this.#counts.good++
    }
  }

  #report(): TrafficReport {
    const { numBlocks } = this.#options
    const { numSteps, numPrefixHitTokens, numPreemptions } = this.#scheduler.stats
    const { requests, refused, good, outputTokens, promptTokens } = this.#counts
    const mean = this.#usedBlockMs / this.#nowMs / numBlocks
    return {
      numRequests: requests,
      numRefused: refused,
      numFinished: this.#ttftMs.length,
      numGood: good,
      numSteps,
      numOutputTokens: outputTokens,
      simulatedMs: this.#nowMs,
      ttftMs: Float64Array.from(this.#ttftMs).sort(),
      tpotMs: Float64Array.from(this.#tpotMs).sort(),
      hitRate: promptTokens === 0 ? 0 : numPrefixHitTokens / promptTokens,
      poolUse: { mean, max: this.#maxUsedBlocks / numBlocks },
      deviceUse: this.#busyMs / this.#nowMs,
      numPreemptions,
    }
  }
}

/** The value below which `share` of the sorted values lie. */
export function percentile(sorted: Float64Array, share: number): number {
  if (sorted.length === 0) return Number.NaN
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!
}
