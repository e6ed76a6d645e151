import { addCounts, type SimulationCounts, zeroCounts } from './counts.js'
import type { SchedulerModules } from './patched-modules.js'
import { SimulationError, type SimulationOptions, simulate } from './simulator.js'

/** One run in so many is done twice: its log must be the same. */
const seedsPerReplay = 50

export interface SeedsResult {
  readonly counts: SimulationCounts
  readonly numSeeds: number
  readonly error: SimulationError | undefined
}

/**
 * Runs seed after seed from `firstSeed` on, until so many steps were simulated or one fails. Every
 * fiftieth seed runs twice.
 */
export function runSeeds(
  modules: SchedulerModules,
  firstSeed: number,
  numSteps: number,
  options: SimulationOptions = {},
  progress?: (numSeeds: number, counts: SimulationCounts) => void,
): SeedsResult {
  const counts = zeroCounts()
  let numSeeds = 0
  while (counts.numSteps < numSteps) {
    const seed = firstSeed + numSeeds++
    try {
      const { counts: more, logHash } = simulate(modules, seed, options)
      addCounts(counts, more)
      if (seed % seedsPerReplay === 0 && simulate(modules, seed, options).logHash !== logHash) {
        const error = new Error('the same seed gave another log')
        return { counts, numSeeds, error: new SimulationError(seed, more.numSteps, error) }
      }
    } catch (error) {
      if (!(error instanceof SimulationError)) throw error
      counts.numSteps += error.numSteps
      return { counts, numSeeds, error }
    }
    progress?.(numSeeds, counts)
  }
  return { counts, numSeeds, error: undefined }
}
