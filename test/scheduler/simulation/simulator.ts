import type { BlockPool } from '../../../scheduler/block-pool.js'
import type { Scheduler } from '../../../scheduler/scheduler.js'
import type { StepOutcome, StepPlan } from '../../../scheduler/step-plan.js'
import { fail, type KnownRequest, MockModel } from './mock-model.js'
import type { SchedulerModules } from './patched-modules.js'
import { checkPlan, checkTransitions, type Shadow } from './plan-checks.js'
import { Random } from './random.js'
import { mix, runAlone } from './tags.js'
import { drawConfig, type SimulationConfig, Workload } from './workload.js'

/** How often the things happened that a run is there to try. */
export interface SimulationCounts {
  numSteps: number
  numFinished: number
  numFailed: number
  numAbortedWaiting: number
  numAbortedPreempted: number
  numAbortedRunning: number
  numAbortedInFlight: number
  numPreemptions: number
  numEvictions: number
  numPrefixHitTokens: number
  numProtected: number
  numWastedRows: number
  numBlockCopies: number
}

export interface SimulationResult {
  readonly counts: SimulationCounts
  /** Over every plan and outcome: equal for equal seeds. */
  readonly logHash: number
}

type Life = KnownRequest & Shadow & { numSeen: number }

/**
 * Runs one seed: `numSteps` steps of load, then as many as it takes until nobody is left. Without
 * `checksIntegrity` only what can be seen from outside is checked: plans, tags, outputs.
 */
export function simulate(
  modules: SchedulerModules,
  seed: number,
  numSteps: number,
  { checksIntegrity = true } = {},
): SimulationResult {
  const simulation = new Simulation(modules, seed, checksIntegrity)
  try {
    return simulation.run(numSteps)
  } catch (error) {
    const { message } = error as Error
    throw new Error(
      `seed ${seed}, step ${simulation.counts.numSteps}: ${message}\n` +
        `replay: KVASIR_SIM_SEED=${seed} node dist/test/scheduler/simulation.test.js`,
      { cause: error },
    )
  }
}

class Simulation {
  readonly counts: SimulationCounts = {
    numSteps: 0,
    numFinished: 0,
    numFailed: 0,
    numAbortedWaiting: 0,
    numAbortedPreempted: 0,
    numAbortedRunning: 0,
    numAbortedInFlight: 0,
    numPreemptions: 0,
    numEvictions: 0,
    numPrefixHitTokens: 0,
    numProtected: 0,
    numWastedRows: 0,
    numBlockCopies: 0,
  }
  readonly #random: Random
  readonly #config: SimulationConfig
  readonly #workload: Workload
  readonly #pool: BlockPool
  readonly #scheduler: Scheduler
  readonly #model: MockModel
  readonly #checksIntegrity: boolean
  /** Not ended, as the client sees it. */
  readonly #live = new Map<number, Life>()
  /** Ended while in flight; the model still works on them. */
  readonly #leaving = new Map<number, Life>()
  /** In flight, oldest first. */
  readonly #plans: StepPlan[] = []
  #nextId = 1
  #numAdmissions = 0
  #logHash = 0

  constructor(modules: SchedulerModules, seed: number, checksIntegrity: boolean) {
    this.#random = new Random(seed)
    this.#config = drawConfig(this.#random)
    this.#workload = new Workload(this.#random, this.#config)
    const { limits } = this.#config
    this.#pool = new modules.BlockPool(limits.numBlocks, limits.blockSize, limits.hashSeed)
    this.#scheduler = new modules.Scheduler(limits, this.#pool)
    this.#checksIntegrity = checksIntegrity
    this.#model = new MockModel(this.#pool, this.#config.vocabSize, (id) => {
      return this.#live.get(id) ?? this.#leaving.get(id) ?? fail(`sequence ${id} is long gone`)
    })
  }

  run(numSteps: number): SimulationResult {
    const { waiting, between, inFlight } = this.#config.abortRates
    // Bounded in rounds too: a run may be unlucky enough that nobody ever comes.
    for (let round = 0; this.counts.numSteps < numSteps && round < 50 * numSteps; round++) {
      this.#arrive()
      this.#abortSome('waiting', waiting)
      this.#abortSome('running', between)
      this.#step(true, inFlight)
    }
    this.#drain()
    const { numPreemptions, numEvictions, numPrefixHitTokens } = this.#scheduler.stats
    Object.assign(this.counts, { numPreemptions, numEvictions, numPrefixHitTokens })
    return { counts: this.counts, logHash: this.#logHash }
  }

  /** No faults, no arrivals: everybody must end within the steps that a lone run, thrice, takes. */
  #drain(): void {
    let numStepsLeft = 1
    for (const { request } of this.#live.values()) {
      numStepsLeft += 3 * (request.promptTokenIds.length + request.maxTokens)
    }
    while (this.#live.size > 0) {
      if (numStepsLeft-- === 0) fail(`${this.#live.size} sequences starve`)
      this.#step(false, 0)
    }
    while (this.#plans.length > 0) this.#step(false, 0)
    if (this.#scheduler.schedule() !== undefined) fail('a step was planned for nobody')
    const { stats } = this.#scheduler
    if (stats.numUsedBlocks !== 0) fail(`${stats.numUsedBlocks} blocks are held by nobody`)
    if (stats.numRunning + stats.numWaiting !== 0) fail('ended sequences are counted as live')
  }

  /** Plans as many steps as may be in flight, lets things happen, then commits the oldest. */
  #step(isLoaded: boolean, inFlightAbortRate: number): void {
    this.#check()
    while (this.#plans.length < this.#config.limits.maxStepsInFlight! && this.#plan()) {
      if (this.#random.chance(0.2)) break
      if (isLoaded) this.#arrive()
    }
    const plan = this.#plans.shift()
    if (plan === undefined) {
      if (this.#live.size > 0) fail(`nothing was planned for ${this.#live.size} live sequences`)
      return
    }
    this.#check()
    if (isLoaded) {
      this.#arrive()
      this.#abortSome('inFlight', inFlightAbortRate)
      this.#abortSome('waiting', this.#config.abortRates.waiting / 2)
      this.#model.poisonFreeBlocks()
      this.#check()
    }
    const numSampled = plan.rows.filter(
      ({ samples, sequence }) => samples && this.#live.has(sequence.id),
    ).length
    this.#scheduler.commit(plan, this.#model.deliver())
    if (plan.outcomes.length !== numSampled) fail(`${plan.outcomes.length} outcomes`)
    for (const outcome of plan.outcomes) this.#receive(outcome, plan.stepNumber)
    this.#checkLeaving(plan.stepNumber)
    this.#model.poisonFreeBlocks()
    this.#check()
  }

  /** false if nothing can be planned now. */
  #plan(): boolean {
    const plan = this.#scheduler.schedule()
    this.#model.poisonFreeBlocks()
    if (plan === undefined) return false
    this.counts.numSteps++
    checkPlan(plan, this.#config.limits, this.#live)
    checkTransitions(plan, this.#live)
    this.#rememberPlan(plan)
    this.#model.start(plan)
    this.#plans.push(plan)
    return true
  }

  #check(): void {
    if (!this.#checksIntegrity) return
    const { stats } = this.#scheduler
    const numBlocks = stats.numFreeBlocks + stats.numCachedBlocks + stats.numUsedBlocks
    if (numBlocks !== this.#config.limits.numBlocks) fail(`${numBlocks} blocks in all`)
    const numKnown = stats.numWaiting + stats.numRunning
    if (numKnown !== this.#live.size + this.#leaving.size) fail(`${numKnown} sequences in all`)
    this.#scheduler.checkIntegrity()
  }

  #arrive(): void {
    if (!this.#random.chance(this.#config.arrivalRate)) return
    const numArrivals = this.#random.integer(1, this.#config.maxBurst)
    for (let i = 0; i < numArrivals && this.#live.size < this.#config.maxLive; i++) {
      const request = this.#workload.nextRequest((n) => this.#scheduler.maxTokensFor(n))
      if (!this.#scheduler.canFit(request.promptTokenIds.length)) fail('a prompt does not fit')
      const numChoices = this.#random.pick(this.#config.numChoices)
      const priority = this.#random.pick(this.#config.priorities)
      const id = this.#nextId
      this.#nextId += numChoices
      const { choices } = this.#scheduler.add({ id, ...request, numChoices, priority })
      for (const sequence of choices) {
        const own = { ...request, seed: request.seed + sequence.choice }
        this.#live.set(sequence.id, {
          request: own,
          solo: runAlone(own, this.#config.vocabSize),
          sequence,
          isRunning: false,
          numPlannedTokens: 0,
          samplerSlot: -1,
          numPreemptions: 0,
          admission: 0,
          numSeen: 0,
        })
      }
    }
  }

  /** Aborts at most one sequence of a kind, sometimes twice; and now and then one long gone. */
  #abortSome(kind: 'waiting' | 'running' | 'inFlight', rate: number): void {
    if (!this.#random.chance(rate)) return
    const candidates = [...this.#live.values()].filter(({ sequence }) => {
      if (kind === 'waiting') return sequence.status === 'waiting'
      return (
        sequence.status === 'running' &&
        (kind === 'inFlight') === sequence.numPlannedTokens > sequence.numComputedTokens
      )
    })
    if (this.#random.chance(0.3) && this.#scheduler.abort(this.#nextId)) fail('nobody was aborted')
    if (candidates.length === 0) return
    const life = this.#random.pick(candidates)
    const { id, numPreemptions } = life.sequence
    if (!this.#scheduler.abort(id)) fail(`sequence ${id} could not be aborted`)
    if (life.sequence.status !== 'finished') fail(`an aborted sequence is ${life.sequence.status}`)
    if (this.#random.chance(0.3) && this.#scheduler.abort(id)) fail(`${id} was aborted twice`)
    this.#live.delete(id)
    this.#log(id, -2)
    if (kind === 'inFlight') this.#leaving.set(id, life)
    else if (life.sequence.numBlocks > 0) fail(`the aborted sequence ${id} holds blocks`)
    if (kind === 'inFlight') this.counts.numAbortedInFlight++
    else if (kind === 'running') this.counts.numAbortedRunning++
    else if (numPreemptions > 0) this.counts.numAbortedPreempted++
    else this.counts.numAbortedWaiting++
  }

  /** Compares one sampled token with the solo run. */
  #receive({ sequence, tokenId, finishReason }: StepOutcome, stepNumber: number): void {
    const life = this.#live.get(sequence.id) ?? fail(`sequence ${sequence.id} ended before`)
    const { outputTokenIds, end } = life.solo
    this.#log(sequence.id, tokenId)
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
    const isHolding = sequence.numBlocks > 0 || sequence.samplerSlot !== -1
    if (isHolding !== sequence.lastStep > stepNumber || sequence.status !== 'finished') {
      fail(`sequence ${sequence.id} holds something after its end`)
    }
    if (isHolding) {
      this.#leaving.set(sequence.id, life)
      this.counts.numWastedRows++
    }
    if (this.#scheduler.abort(sequence.id))
      fail(`sequence ${sequence.id} was aborted after its end`)
    this.#live.delete(sequence.id)
    if (finishReason === 'failed') this.counts.numFailed++
    else this.counts.numFinished++
    if (sequence.numPreemptions === 2) this.counts.numProtected++
  }

  #rememberPlan(plan: StepPlan): void {
    for (const { id } of plan.admitted) this.#live.get(id)!.admission = ++this.#numAdmissions
    this.counts.numBlockCopies += plan.numBlockCopies
    for (const { sequence, start, numTokens } of plan.rows) {
      const life = this.#live.get(sequence.id)!
      if (!life.isRunning && life.numPreemptions === 0 && sequence.numPreemptions === 0) {
        const { numCachedTokens, numPromptTokens } = sequence
        const isHonest = numCachedTokens === start && numCachedTokens < numPromptTokens
        if (!isHonest) fail(`sequence ${sequence.id} claims ${numCachedTokens} cached tokens`)
      }
      this.#log(sequence.id, numTokens)
      for (let i = 0; i < sequence.numBlocks; i++) this.#log(i, sequence.blockTable[i]!)
    }
    for (const life of this.#live.values()) {
      const { sequence } = life
      life.isRunning = sequence.status === 'running'
      life.numPlannedTokens = sequence.numPlannedTokens
      life.samplerSlot = sequence.samplerSlot
      life.numPreemptions = sequence.numPreemptions
    }
  }

  #checkLeaving(stepNumber: number): void {
    for (const [id, { sequence }] of this.#leaving) {
      const isInFlight = sequence.lastStep > stepNumber
      if (isInFlight !== sequence.numBlocks > 0) fail(`the ended sequence ${id} holds blocks`)
      if (!isInFlight) this.#leaving.delete(id)
    }
  }

  #log(a: number, b: number): void {
    this.#logHash = mix(this.#logHash, mix(a, b))
  }
}
