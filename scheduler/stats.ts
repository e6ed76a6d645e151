/** Counts as of now, and totals since the start. */
export interface SchedulerStats {
  /** Sequences in line, preempted ones included, and their known tokens. */
  readonly numWaiting: number
  readonly numWaitingTokens: number
  /** Sequences that hold blocks and a sampler slot, ended ones included while a step has them. */
  readonly numRunning: number
  readonly numStepsInFlight: number
  readonly numBlocks: number
  /** numFreeBlocks + numCachedBlocks + numUsedBlocks = numBlocks. */
  readonly numFreeBlocks: number
  /** Held by no sequence, kept for prefix hits, given up when room is needed. */
  readonly numCachedBlocks: number
  /** In at least one block table, or read by a step in flight. */
  readonly numUsedBlocks: number
  readonly numSteps: number
  readonly numPreemptions: number
  readonly numEvictions: number
  /** Tokens that admitted sequences did not have to compute. */
  readonly numPrefixHitTokens: number
  readonly numQueueTimeouts: number
}

export interface TenantStats {
  readonly tenant: number
  readonly numWaiting: number
  readonly numRunning: number
  readonly numCachedBlocks: number
  /** Tokens that may be computed for it before it is another tenant's turn. */
  readonly deficit: number
}

/** What the step that was committed last consisted of; all zero before the first. */
export interface LastStepStats {
  readonly stepNumber: number
  readonly numDecodes: number
  readonly numPromptTokens: number
  readonly numAdmitted: number
  readonly numBlockCopies: number
  /** As told to `commit`; 0 if it was not. */
  readonly durationMs: number
}
