import type { Sequence } from '../../../scheduler/sequence.js'
import type { SoloRequest, SoloRun } from './tags.js'

/** What the simulation knows of a sequence, apart from what the sequence says of itself. */
export interface Life {
  readonly request: SoloRequest
  readonly solo: SoloRun
  readonly sequence: Sequence
  /** When it came. */
  readonly arrivedMs: number
  /** The first choice's id: one for all choices of a request. */
  readonly group: Group
  /** As of the last plan. */
  isRunning: boolean
  isWaiting: boolean
  numPlannedTokens: number
  samplerSlot: number
  numPreemptions: number
  /** Counts admissions, 0 before the first. */
  admission: number
  /** What the client was told at the first admission. */
  numCachedTokens: number
  /** Output tokens that the client got. */
  numSeen: number
  /** By place in the block table: the content that was verified there. */
  readonly verified: Float64Array
}

/** The choices of one request. */
export interface Group {
  readonly firstId: number
  readonly numChoices: number
  hasStarted: boolean
}

/** Throws because the scheduler under test did something wrong. */
export function fail(message: string): never {
  throw new Error(message)
}
