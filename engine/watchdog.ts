import type { Heartbeat, StepResult } from './frames-from-core.js'

export interface WatchdogLimits {
  /** No sign of life at all for this long, while there is work, is a hang. */
  readonly maxSilenceMs: number
  /** So is a step that takes longer than this and than everything below. */
  readonly minStepLimitMs: number
  /** Times the slowest of a hundred recent steps. */
  readonly stepFactor: number
  /** No progress while a model loads: a slow disk is not a hang. */
  readonly maxLoadSilenceMs: number
}

export const defaultWatchdogLimits: WatchdogLimits = {
  maxSilenceMs: 10_000,
  minStepLimitMs: 10_000,
  stepFactor: 20,
  maxLoadSilenceMs: 120_000,
}

const numRememberedSteps = 256
/** A step of n tokens never takes as long as this many times n steps of one token. */
const tokenFactor = 2

/**
 * Tells a core that hangs from one that is busy or idle. Alive means that steps get done while
 * there is work: a process that merely answers may have lost its device, and one that is idle is
 * healthy however long it is silent. The times come in from outside, in milliseconds.
 */
export class Watchdog {
  readonly #limits: WatchdogLimits
  readonly #durationsMs = new Float64Array(numRememberedSteps)
  #numDurations = 0
  #warmUpMs: number | undefined
  #numSteps = 0
  #numTokensInStep = 0
  #lastSignMs: number
  #lastStepMs: number
  #lastCheckMs: number

  constructor(limits: WatchdogLimits, nowMs: number) {
    this.#limits = limits
    this.#lastSignMs = nowMs
    this.#lastStepMs = nowMs
    this.#lastCheckMs = nowMs
  }

  /** Any frame is a sign of life. */
  noteSign(nowMs: number): void {
    this.#lastSignMs = nowMs
  }

  /** From here on it is steps that count. */
  noteReady(warmUpMs: number, nowMs: number): void {
    this.#warmUpMs = warmUpMs
    this.#lastStepMs = nowMs
  }

  noteStep({ stepNumber, durationMs }: StepResult, nowMs: number): void {
    this.#durationsMs[this.#numDurations++ % numRememberedSteps] = durationMs
    this.#advanceTo(stepNumber, nowMs)
    this.#numTokensInStep = 0
  }

  noteHeartbeat({ numSteps, numTokensInStep }: Heartbeat, nowMs: number): void {
    this.#advanceTo(numSteps, nowMs)
    this.#numTokensInStep = numTokensInStep
  }

  /** A clause that says why the core counts as hung; undefined while it does not. */
  findHang(hasWork: boolean, nowMs: number): string | undefined {
    // Frames wait unread while this process itself stands still, asleep or starved.
    const wasAsleep = nowMs - this.#lastCheckMs > this.#limits.maxSilenceMs / 2
    this.#lastCheckMs = nowMs
    const isLoading = this.#warmUpMs === undefined
    if (wasAsleep || (!hasWork && !isLoading)) {
      this.#lastSignMs = nowMs
      this.#lastStepMs = nowMs
      return undefined
    }

    const silentMs = Math.round(nowMs - this.#lastSignMs)
    if (isLoading) {
      const { maxLoadSilenceMs } = this.#limits
      return silentMs > maxLoadSilenceMs ? `it was silent for ${silentMs} ms of loading` : undefined
    }
    if (silentMs > this.#limits.maxSilenceMs) return `it was silent for ${silentMs} ms`
    const stepMs = Math.round(nowMs - this.#lastStepMs)
    if (stepMs <= this.#limits.minStepLimitMs || stepMs <= this.#stepLimitMs()) return undefined
    return `it finished no step for ${stepMs} ms`
  }

  #advanceTo(numSteps: number, nowMs: number): void {
    if (numSteps <= this.#numSteps) return
    this.#numSteps = numSteps
    this.#lastStepMs = nowMs
  }

  /** The first long prompt on a slow machine has no history; its number of tokens must do. */
  #stepLimitMs(): number {
    const durationsMs = this.#durationsMs.slice(0, Math.min(this.#numDurations, numRememberedSteps))
    durationsMs.sort()
    const p99 = durationsMs[Math.floor(durationsMs.length * 0.99)] ?? 0
    const expectedMs = (this.#warmUpMs ?? 0) * this.#numTokensInStep * tokenFactor
    return Math.max(p99 * this.#limits.stepFactor, expectedMs)
  }
}
