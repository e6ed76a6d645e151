import type { BuggifyPlace } from '../../../scheduler/buggify.js'
import type { Scheduler } from '../../../scheduler/scheduler.js'
import type { StepPlan } from '../../../scheduler/step-plan.js'
import { Clients, throws } from './clients.js'
import { drawConfig, type SimulationConfig } from './config.js'
import { type SimulationCounts, zeroCounts } from './counts.js'
import { fail } from './life.js'
import { MockModel } from './mock-model.js'
import type { SchedulerModules } from './patched-modules.js'
import { checkPlan, checkTransitions } from './plan-checks.js'
import { Random } from './random.js'
import { PassCounts, StateChecks } from './state-checks.js'
import { type WatchedPool, watchedPoolClass } from './watched-pool.js'
import { Workload } from './workload.js'

/** Steps under load in one seed; a failing seed is only the same with the same number. */
export const numLoadedSteps = 400

/** The simulation has its own opinion after every step; the scheduler's is asked so often. */
const stepsPerIntegrityCheck = 16

export interface SimulationOptions {
  /** Also asks the scheduler's own `checkIntegrity`; true if left out. */
  readonly checksIntegrity?: boolean
  /** Replaces what the seed says. */
  readonly maxStepsInFlight?: 1 | 2
  readonly keepsAnswers?: boolean
  readonly numSteps?: number
}

export interface SimulationResult {
  readonly counts: SimulationCounts
  /** Over every plan and outcome: equal for equal seeds. */
  readonly logHash: number
  /** What requests came to, by id; those that were not aborted. */
  readonly answers: ReadonlyMap<number, readonly number[]>
}

/** A seed that went wrong. */
export class SimulationError extends Error {
  readonly seed: number
  readonly numSteps: number

  constructor(seed: number, numSteps: number, cause: Error) {
    const replay = `replay: npm run simulate -- --seed ${seed}`
    super(`seed ${seed}, step ${numSteps}: ${cause.message}\n${replay}`, { cause })
    this.seed = seed
    this.numSteps = numSteps
  }
}

/** Runs one seed: steps under load and faults, then as many as it takes until nobody is left. */
export function simulate(
  modules: SchedulerModules,
  seed: number,
  options: SimulationOptions = {},
): SimulationResult {
  const simulation = new Simulation(modules, seed, options)
  try {
    return simulation.run(options.numSteps ?? numLoadedSteps)
  } catch (error) {
    throw new SimulationError(seed, simulation.counts.numSteps, error as Error)
  }
}

/** A plan that the mock model works on. */
interface Submitted {
  readonly plan: StepPlan
  readonly submittedMs: number
  readonly doneMs: number
}

class Simulation {
  readonly counts = zeroCounts()
  readonly #random: Random
  readonly #buggifyRandom: Random
  readonly #config: SimulationConfig
  readonly #clients: Clients
  readonly #modules: SchedulerModules
  readonly #checksIntegrity: boolean
  #pool!: WatchedPool
  #scheduler!: Scheduler
  #model!: MockModel
  #checks!: StateChecks
  #passes!: PassCounts
  /** In flight, oldest first. */
  #steps: Submitted[] = []
  /** No faults any more: everybody must end. */
  #isDraining = false
  #tookSmallChunk = false
  #nowMs = 0
  #lastDoneMs = 0
  #numAdmissions = 1

  constructor(modules: SchedulerModules, seed: number, options: SimulationOptions) {
    const random = new Random(seed)
    const drawn = drawConfig(random)
    const { maxStepsInFlight = drawn.limits.maxStepsInFlight! } = options
    this.#config = { ...drawn, limits: { ...drawn.limits, maxStepsInFlight } }
    // Streams of their own: requests are the same whatever else happens.
    const workload = new Workload(new Random(random.next()), this.#config)
    this.#buggifyRandom = new Random(random.next())
    this.#random = random
    const keepsAnswers = options.keepsAnswers ?? false
    this.#clients = new Clients(random, this.#config, workload, this.counts, keepsAnswers)
    this.#modules = modules
    this.#checksIntegrity = options.checksIntegrity ?? true
    this.#start()
  }

  /** A new engine, with nothing in it. */
  #start(): void {
    const { limits, vocabSize } = this.#config
    const { numBlocks, blockSize, hashSeed, cacheShareBlocks } = limits
    const Pool = watchedPoolClass(this.#modules.BlockPool)
    this.#pool = new Pool(numBlocks, blockSize, hashSeed, cacheShareBlocks)
    const buggify = (place: BuggifyPlace) => this.#buggify(place)
    this.#scheduler = new this.#modules.Scheduler(limits, this.#pool, buggify)
    this.#model = new MockModel(this.#pool, vocabSize, (id) => this.#clients.find(id))
    this.#checks = new StateChecks(limits)
    this.#passes = new PassCounts()
    this.#steps = []
  }

  #buggify(place: BuggifyPlace): boolean {
    const rate = this.#config.buggifyRates.get(place)
    if (rate === undefined || this.#isDraining || !this.#buggifyRandom.chance(rate)) return false
    if (place === 'small_chunk') this.#tookSmallChunk = true
    this.counts.numUnlikelyTurns++
    return true
  }

  run(numSteps: number): SimulationResult {
    // Bounded in rounds too: a run may be unlucky enough that nobody ever comes.
    for (let round = 0; this.counts.numSteps < numSteps && round < 20 * numSteps; round++) {
      this.#happen('before')
      this.#step()
    }
    this.#drain()
    this.#addTotals()
    const { logHash, answers = new Map() } = this.#clients
    return { counts: this.counts, logHash, answers }
  }

  /** No faults, no arrivals: everybody must end within the steps that a lone run, thrice, takes. */
  #drain(): void {
    this.#isDraining = true
    let numStepsLeft = 3
    for (const { request } of this.#clients.live.values()) {
      numStepsLeft += 3 * (request.promptTokenIds.length + request.maxTokens)
    }
    while (this.#clients.live.size > 0) {
      if (numStepsLeft-- === 0) fail(`${this.#clients.live.size} sequences starve`)
      this.#step()
    }
    while (this.#steps.length > 0) this.#step()
    if (this.#scheduler.schedule() !== undefined) fail('a step was planned for nobody')
    const { stats } = this.#scheduler
    if (stats.numUsedBlocks !== 0) fail(`${stats.numUsedBlocks} blocks are held by nobody`)
    if (stats.numRunning + stats.numWaiting !== 0) fail('ended sequences are counted as live')
    if (this.#scheduler.tenantStats().length > 0) fail('a tenant is kept for nobody')
    this.#scheduler.checkIntegrity()
  }

  /** Plans as many steps as may be in flight, lets things happen, then commits the oldest. */
  #step(): void {
    this.#clients.expire(this.#scheduler, this.#nowMs)
    while (this.#steps.length < this.#config.limits.maxStepsInFlight! && this.#plan()) {
      if (this.#random.chance(0.2)) break
      if (!this.#isDraining) this.#clients.arrive(this.#scheduler, this.#nowMs)
    }
    const step = this.#steps[0]
    if (step === undefined) {
      const numLive = this.#clients.live.size
      if (numLive > 0) fail(`nothing was planned for ${numLive} live sequences`)
      this.#nowMs += this.#random.fraction() * 10
      return
    }
    if (!this.#isDraining) {
      if (this.#random.chance(this.#config.deathRate)) {
        this.#die()
        return
      }
      this.#happen('inFlight')
    }
    this.#nowMs = Math.max(this.#nowMs, step.doneMs)
    this.#commitOldest()
  }

  /** false if nothing can be planned now. */
  #plan(): boolean {
    this.#tookSmallChunk = false
    this.#passes.noteWaiting(this.#clients.live)
    const plan = this.#scheduler.schedule()
    if (plan === undefined) return false
    this.#passes.noteAdmitted(plan.admitted)
    const { limits, stepMs } = this.#config
    const isTimed = limits.maxStepMs !== undefined && plan.numDecodes > 0
    this.counts.numSteps++
    checkPlan(plan, limits, this.#clients.live, this.#tookSmallChunk || isTimed)
    checkTransitions(this.#clients.live)
    this.#clients.notePlan(plan, this.#numAdmissions)
    this.#numAdmissions += plan.admitted.length
    this.counts.numBlockCopies += plan.numBlockCopies
    this.#model.start(plan)
    const submittedMs = this.#nowMs
    // Sometimes ten times as long, and sometimes no time at all.
    const factor = this.#random.pick([0, 0.8, 1, 1, 1.2, 10])
    const durationMs = factor * (stepMs.base + stepMs.perToken * plan.numTokens)
    const doneMs = Math.max(submittedMs, this.#lastDoneMs) + durationMs
    this.#steps.push({ plan, submittedMs, doneMs })
    return true
  }

  #commitOldest(): void {
    const { plan, submittedMs, doneMs } = this.#steps.shift()!
    const { live } = this.#clients
    let numSampled = 0
    for (const { samples, sequence } of plan.rows) {
      if (samples && live.has(sequence.id)) numSampled++
    }
    const durationMs = doneMs - Math.max(submittedMs, this.#lastDoneMs)
    this.#lastDoneMs = doneMs
    this.#scheduler.commit(plan, this.#model.deliver(), durationMs)
    if (plan.outcomes.length !== numSampled) fail(`${plan.outcomes.length} outcomes`)
    for (const outcome of plan.outcomes) {
      this.#clients.receive(this.#scheduler, outcome, plan.stepNumber)
    }
    this.#clients.checkLeaving(plan.stepNumber)
    this.#checks.check(this.#scheduler, this.#pool, live, this.#clients.leaving)
    if (this.#checksIntegrity && plan.stepNumber % stepsPerIntegrityCheck === 0) {
      this.#scheduler.checkIntegrity()
    }
  }

  /** What may come at any time: clients that come and go, a cache reset, a clock that jumps. */
  #happen(when: 'before' | 'inFlight'): void {
    const { abortRates, resetRate, clockJumpRate } = this.#config
    const scheduler = this.#scheduler
    this.#clients.arrive(scheduler, this.#nowMs)
    const running = when === 'before' ? 'running' : 'inFlight'
    const rate = when === 'before' ? abortRates.between : abortRates.inFlight
    this.#clients.abortSome(scheduler, 'waiting', abortRates.waiting / 2)
    this.#clients.abortSome(scheduler, running, rate)
    this.#clients.abortGroup(scheduler, abortRates.group / 2)
    this.#clients.abortTenant(scheduler, abortRates.tenant / 2)
    if (this.#random.chance(clockJumpRate)) {
      this.#nowMs += this.#random.fraction() * 5000
      this.counts.numClockJumps++
    }
    if (this.#random.chance(resetRate)) {
      scheduler.resetPrefixCache()
      this.counts.numResets++
    }
  }

  /** The engine dies with steps in flight; at times because it gives a result that cannot be. */
  #die(): void {
    const [oldest, newest] = this.#steps
    const enough = new Int32Array(this.#config.limits.maxSequences)
    const kind = this.#random.integer(0, 3)
    const commit = (plan: StepPlan, results: Int32Array) => {
      this.counts.numBadResults++
      if (!throws(() => this.#scheduler.commit(plan, results))) fail('a wrong result was taken')
    }
    if (kind === 0) commit(oldest!.plan, enough.subarray(0, oldest!.plan.rows.length - 1))
    else if (kind === 1 && newest !== undefined) commit(newest.plan, enough)
    else if (kind === 2 && newest === undefined) {
      this.#commitOldest()
      commit(oldest!.plan, enough)
    }
    this.#addTotals()
    this.#clients.loseAll()
    this.counts.numDeaths++
    this.#start()
  }

  #addTotals(): void {
    const { numPreemptions, numEvictions, numPrefixHitTokens } = this.#scheduler.stats
    const { numLookUps, numHits, numForeignHits, numTwins } = this.#pool.counts
    if (numForeignHits > 0) fail(`${numForeignHits} blocks of another tenant were found`)
    this.counts.numPreemptions += numPreemptions
    this.counts.numEvictions += numEvictions
    this.counts.numPrefixHitTokens += numPrefixHitTokens
    this.counts.numLookUps += numLookUps
    this.counts.numHitBlocks += numHits
    this.counts.numTwins += numTwins
  }
}
