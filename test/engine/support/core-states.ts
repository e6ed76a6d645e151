import type { CoreState } from '../../../engine/frames-from-core.js'

/** A core that has done nothing yet. */
export const idleState: CoreState = {
  numRunning: 0,
  numWaiting: 0,
  numWaitingTokens: 0,
  numStepsInFlight: 0,
  numBlocks: 0,
  numFreeBlocks: 0,
  numCachedBlocks: 0,
  numUsedBlocks: 0,
  numSteps: 0,
  numPreemptions: 0,
  numEvictions: 0,
  numPrefixHitTokens: 0,
  numQueueTimeouts: 0,
  lastStep: {
    stepNumber: 0,
    numDecodes: 0,
    numPromptTokens: 0,
    numAdmitted: 0,
    numBlockCopies: 0,
    planMs: 0,
    packMs: 0,
    durationMs: 0,
    commitMs: 0,
  },
  tenants: [],
  numTenants: 0,
}
