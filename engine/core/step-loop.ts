import type { Scheduler } from '../../scheduler/scheduler.js'
import type { StepOutcome, StepPlan } from '../../scheduler/step-plan.js'
import {
  encodeHeartbeat,
  encodeRefused,
  encodeState,
  encodeStep,
  maxTenantsInState,
  type StepResult,
  stepFinish,
} from '../frames-from-core.js'
import type { Submission, ToCore } from '../frames-to-core.js'
import type { NativeModel, StepBatchViews } from './addon.js'
import { type BatchShape, packStepBatch } from './step-batch.js'
import type { StepTrace } from './step-trace.js'
import { findSubmissionFault, type SubmissionLimits } from './submission-check.js'

export interface StepLoopOptions {
  readonly model: NativeModel
  readonly scheduler: Scheduler
  readonly shape: BatchShape
  readonly limits: SubmissionLimits
  /** Steps the model has run already: they decide which of the two batches is next. */
  readonly numStepsBefore: number
  /** Hands a frame to the front; never waits. */
  readonly send: (frame: Buffer) => void
  readonly trace?: StepTrace | undefined
}

/** A step that was handed to the native side. */
interface StepInFlight {
  readonly plan: StepPlan
  readonly views: StepBatchViews
  /** How long it took to plan and to pack. */
  readonly planMs: number
  readonly packMs: number
  readonly startMs: number
  readonly done: Promise<void>
}

const heartbeatMs = 500
const integrityCheckMs = 1000

/**
 * The heart of the core: one step after the other while there is work, asleep while there is none.
 *
 *   inbox -> schedule -> fill sampler slots -> pack -> model.step -> commit -> one frame
 *
 * With overlap the scheduler allows two steps in flight: step n + 1 is planned, packed and handed to
 * the native side while step n runs, so that the device never waits for this thread. What step n
 * samples is then known only to the device, and its row stands for it (docs/scheduler.md).
 *
 * Messages are applied only between two plans. `run` ends by throwing: whatever reaches it is a
 * broken invariant of the whole core, because everything that belongs to one request is checked
 * when that request is submitted.
 */
export class StepLoop {
  readonly #model: NativeModel
  readonly #scheduler: Scheduler
  readonly #shape: BatchShape
  readonly #limits: SubmissionLimits
  readonly #send: (frame: Buffer) => void
  readonly #trace: StepTrace | undefined
  /** Bounded by the front's admission: one submit and one abort for each request it let in. */
  #inbox: ToCore[] = []
  #wake: (() => void) | undefined
  /** What lives, by sequence: the choices of a request share theirs. */
  readonly #submissions = new Map<number, Submission>()
  readonly #outcome: StepResult & { stepNumber: number; durationMs: number }
  /** Oldest first. */
  readonly #inFlight: StepInFlight[] = []
  #numModelSteps: number
  #numSteps = 0
  #lastDoneMs = 0
  #lastTimes = { planMs: 0, packMs: 0, commitMs: 0 }
  #lastCheckMs = Number.NEGATIVE_INFINITY
  #heartbeat: NodeJS.Timeout | undefined

  constructor(options: StepLoopOptions) {
    this.#model = options.model
    this.#scheduler = options.scheduler
    this.#shape = options.shape
    this.#limits = options.limits
    this.#send = options.send
    this.#trace = options.trace
    this.#numModelSteps = options.numStepsBefore
    const { maxSequences } = options.scheduler.limits
    this.#outcome = {
      stepNumber: 0,
      durationMs: 0,
      ids: new Float64Array(maxSequences),
      tokenIds: new Int32Array(maxSequences),
      finishes: new Uint8Array(maxSequences),
      numCachedTokens: new Int32Array(maxSequences),
    }
  }

  /** Whether native threads are at work on a step. */
  get isStepInFlight(): boolean {
    return this.#inFlight.length > 0
  }

  /** Takes a message at any time; it is applied before the next step. */
  receive(message: ToCore): void {
    this.#inbox.push(message)
    this.#wake?.()
  }

  /** Runs for ever. Rejects when the core must not go on. */
  async run(): Promise<never> {
    try {
      for (;;) {
        this.#applyInbox()
        this.#expireWaiting()
        this.#startSteps()
        if (this.isStepInFlight) await this.#finishOldest()
        else await this.#sleep()
      }
    } finally {
      clearInterval(this.#heartbeat)
    }
  }

  #applyInbox(): void {
    const inbox = this.#inbox
    if (inbox.length === 0) return
    this.#inbox = []
    for (const message of inbox) {
      if (message.kind === 'submit') this.#submit(message.submission)
      else if (message.kind === 'abort') this.#abort(message.id)
      else if (message.kind === 'inspect') this.#sendState(message.id)
      else throw new Error('the core was told to start twice')
    }
  }

  #submit(submission: Submission): void {
    const { id, numChoices } = submission
    const fault =
      findSubmissionFault(submission, this.#limits) ?? this.#findLivingFault(id, numChoices)
    if (fault !== undefined) {
      this.#send(encodeRefused(id, fault))
      return
    }
    const nowMs = performance.now()
    for (let choice = 0; choice < numChoices; choice++) {
      this.#submissions.set(id + choice, submission)
      this.#trace?.queued(id + choice, nowMs)
    }
    this.#scheduler.add({ ...submission, ignoreStopTokens: submission.ignoreEos }, nowMs)
  }

  #findLivingFault(firstId: number, numChoices: number): string | undefined {
    for (let id = firstId; id < firstId + numChoices; id++) {
      if (this.#submissions.has(id)) return `A sequence ${id} lives already.`
    }
    return undefined
  }

  /** One choice. An abort may arrive after the end: then there is nothing left to do. */
  #abort(id: number): void {
    // Steps in flight were packed already, so nobody asks for the submission again.
    this.#submissions.delete(id)
    this.#scheduler.abort(id)
    this.#trace?.ended(id, 'abort', performance.now())
  }

  /** Who has waited too long to begin hears of it. */
  #expireWaiting(): void {
    const outcomes = this.#scheduler.expireWaiting(performance.now())
    if (outcomes.length > 0) this.#sendOutcomes(outcomes, 0)
  }

  /** As many as may be in flight, while there is something to compute that can be planned now. */
  #startSteps(): void {
    const { maxStepsInFlight } = this.#scheduler.limits
    while (this.#inFlight.length < maxStepsInFlight) {
      const planMs = performance.now()
      const plan = this.#scheduler.schedule()
      if (plan === undefined) return
      this.#startStep(plan, planMs)
    }
  }

  /** `planMs` is when its planning began. */
  #startStep(plan: StepPlan, planMs: number): void {
    const packMs = performance.now()
    const views = this.#model.stepBatches[this.#numModelSteps % 2]!
    for (const { id, samplerSlot, tokenIds, numTokens, numPromptTokens } of plan.admitted) {
      if (!readsTokenCounts(this.#submissions.get(id)!)) continue
      this.#model.fillSamplerSlot(samplerSlot, tokenIds.subarray(0, numTokens), numPromptTokens)
    }
    packStepBatch(views, plan, this.#submissions, this.#shape)
    const startMs = performance.now()
    const done = this.#model.step(plan.rows.length, plan.numTokens, plan.numDecodes)
    // When an earlier step fails, nobody is left to wait for this one.
    done.catch(() => {})
    const times = { planMs: packMs - planMs, packMs: startMs - packMs }
    this.#inFlight.push({ plan, views, ...times, startMs, done })
    this.#numModelSteps++
    if (this.#trace === undefined) return
    for (const { id, numPromptTokens, numCachedTokens } of plan.admitted) {
      this.#trace.admitted(id, numPromptTokens, numCachedTokens, packMs)
    }
    this.#trace.started(plan, planMs, packMs, startMs)
  }

  async #finishOldest(): Promise<void> {
    const { plan, views, planMs, packMs, startMs, done } = this.#inFlight[0]!
    try {
      await done
    } catch (error) {
      // The others fail with it; native threads are idle once they have.
      await Promise.allSettled(this.#inFlight.map((step) => step.done))
      this.#inFlight.length = 0
      throw error
    }
    this.#inFlight.shift()
    this.#numSteps++
    const doneMs = performance.now()
    // A step that was handed over early began when the one before it ended.
    const beganMs = Math.max(startMs, this.#lastDoneMs)
    const durationMs = doneMs - beganMs
    this.#lastDoneMs = doneMs

    this.#checkResults(plan, views.sampledTokenIds)
    this.#scheduler.commit(plan, views.sampledTokenIds, durationMs)
    const committedMs = performance.now()
    this.#lastTimes = { planMs, packMs, commitMs: committedMs - doneMs }
    this.#sendOutcomes(plan.outcomes, durationMs)
    this.#trace?.finished(plan, beganMs, doneMs, committedMs, performance.now())
  }

  /** A token id that the vocabulary lacks would be read as an input of a later step. */
  #checkResults(plan: StepPlan, sampledTokenIds: Int32Array): void {
    for (let row = 0; row < plan.rows.length; row++) {
      const { sequence, samples } = plan.rows[row]!
      // One that has ended meanwhile may have been computed from a token that never was.
      if (!samples || sequence.status === 'finished') continue
      const tokenId = sampledTokenIds[row]!
      if (tokenId < -1 || tokenId >= this.#limits.vocabSize) {
        throw new Error(`a step sampled token ${tokenId} of ${this.#limits.vocabSize}`)
      }
    }
  }

  /** A step that only prefilled has no entries; its frame still says that the core moves. */
  #sendOutcomes(outcomes: readonly StepOutcome[], durationMs: number): void {
    const step = this.#outcome
    step.stepNumber = this.#numSteps
    step.durationMs = durationMs
    const { length: capacity } = step.ids
    for (let first = 0; first === 0 || first < outcomes.length; first += capacity) {
      const numEntries = Math.min(capacity, outcomes.length - first)
      for (let i = 0; i < numEntries; i++) {
        const { sequence, tokenId, finishReason } = outcomes[first + i]!
        step.ids[i] = sequence.id
        step.tokenIds[i] = tokenId
        step.finishes[i] = stepFinish[finishReason ?? 'none']
        step.numCachedTokens[i] = sequence.numCachedTokens
        if (finishReason === null) continue
        this.#submissions.delete(sequence.id)
        this.#trace?.ended(sequence.id, finishReason, performance.now())
      }
      this.#send(encodeStep(step, numEntries))
    }
  }

  /** Until a message comes. An idle core checks its books, at most once a second. */
  async #sleep(): Promise<void> {
    clearInterval(this.#heartbeat)
    const msUntilCheck = this.#lastCheckMs + integrityCheckMs - performance.now()
    if (!(await this.#waitForMessage(msUntilCheck))) {
      this.#scheduler.checkIntegrity()
      this.#lastCheckMs = performance.now()
      await this.#waitForMessage()
    }
    this.#heartbeat = setInterval(() => this.#sendHeartbeat(), heartbeatMs)
  }

  /** false if the time is over first. */
  async #waitForMessage(timeoutMs?: number): Promise<boolean> {
    if (this.#inbox.length > 0) return true
    let timer: NodeJS.Timeout | undefined
    const isMessage = await new Promise<boolean>((resolve) => {
      this.#wake = () => resolve(true)
      if (timeoutMs !== undefined) timer = setTimeout(() => resolve(false), Math.max(0, timeoutMs))
    })
    this.#wake = undefined
    clearTimeout(timer)
    return isMessage
  }

  #sendState(id: number): void {
    const { stats, lastStep } = this.#scheduler
    const tenants = this.#scheduler.tenantStats()
    const state = {
      ...stats,
      lastStep: { ...lastStep, ...this.#lastTimes },
      tenants: tenants.slice(0, maxTenantsInState),
      numTenants: tenants.length,
    }
    this.#send(encodeState(id, state))
  }

  #sendHeartbeat(): void {
    this.#send(
      encodeHeartbeat({
        numSteps: this.#numSteps,
        numTokensInStep: this.#inFlight[0]?.plan.numTokens ?? 0,
      }),
    )
  }
}

/** Only the penalties look at which tokens there were: for others a slot's counts stay untouched. */
function readsTokenCounts({ sampling }: Submission): boolean {
  const { repetitionPenalty, frequencyPenalty, presencePenalty } = sampling
  return repetitionPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0
}
