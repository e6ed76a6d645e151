/** How often the things happened that a run is there to try. */
export interface SimulationCounts {
  numSteps: number
  numFinished: number
  numFailed: number
  numRefused: number
  numExpired: number
  numAbortedWaiting: number
  numAbortedPreempted: number
  numAbortedRunning: number
  numAbortedInFlight: number
  numAbortedGroups: number
  numVanishedTenants: number
  numDeaths: number
  numBadResults: number
  numResets: number
  numClockJumps: number
  numUnlikelyTurns: number
  numPreemptions: number
  numEvictions: number
  numPrefixHitTokens: number
  numProtected: number
  numWastedRows: number
  numBlockCopies: number
  numTwins: number
  numLookUps: number
  numHitBlocks: number
}

export function zeroCounts(): SimulationCounts {
  return {
    numSteps: 0,
    numFinished: 0,
    numFailed: 0,
    numRefused: 0,
    numExpired: 0,
    numAbortedWaiting: 0,
    numAbortedPreempted: 0,
    numAbortedRunning: 0,
    numAbortedInFlight: 0,
    numAbortedGroups: 0,
    numVanishedTenants: 0,
    numDeaths: 0,
    numBadResults: 0,
    numResets: 0,
    numClockJumps: 0,
    numUnlikelyTurns: 0,
    numPreemptions: 0,
    numEvictions: 0,
    numPrefixHitTokens: 0,
    numProtected: 0,
    numWastedRows: 0,
    numBlockCopies: 0,
    numTwins: 0,
    numLookUps: 0,
    numHitBlocks: 0,
  }
}

export function addCounts(total: SimulationCounts, more: SimulationCounts): void {
  for (const name of Object.keys(total) as (keyof SimulationCounts)[]) total[name] += more[name]
}
