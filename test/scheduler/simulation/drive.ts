import type { SchedulerLimits } from '../../../scheduler/limits.js'
import { Scheduler } from '../../../scheduler/scheduler.js'
import type { Sequence, SequenceSpec } from '../../../scheduler/sequence.js'
import type { StepPlan } from '../../../scheduler/step-plan.js'

/** Blocks of 4 tokens, 16 of them, 8 tokens a step; small enough to follow by hand. */
export const smallLimits: SchedulerLimits = {
  blockSize: 4,
  numBlocks: 16,
  maxTokensPerStep: 8,
  maxSequences: 4,
  maxContextLen: 64,
  hashSeed: 1,
}

export function createScheduler(limits: Partial<SchedulerLimits> = {}): Scheduler {
  return new Scheduler({ ...smallLimits, ...limits })
}

/** Token ids start, start + 1, ...; different starts far apart share no block. */
export function range(start: number, length: number): Int32Array {
  return Int32Array.from({ length }, (_, i) => start + i)
}

/** Adds a sequence that ends with its maxTokens unless `fields` says otherwise. */
export function add(
  scheduler: Scheduler,
  id: number,
  promptTokenIds: Int32Array,
  fields: Partial<SequenceSpec> = {},
): Sequence {
  return scheduler.add({
    id,
    tenant: 0,
    promptTokenIds,
    maxTokens: 4,
    minTokens: 0,
    stopTokenIds: new Int32Array(0),
    ignoreStopTokens: false,
    ...fields,
  })
}

/** Commits with this token for every sequence, and checks everything. */
export function commit(scheduler: Scheduler, plan: StepPlan, tokenId = 1000): void {
  scheduler.checkIntegrity()
  scheduler.commit(plan, new Int32Array(plan.rows.length).fill(tokenId))
  scheduler.checkIntegrity()
}

/** One whole step; "1:8 2:1" means 8 tokens of sequence 1, then 1 of sequence 2. "" if none. */
export function step(scheduler: Scheduler, tokenId = 1000): string {
  const plan = scheduler.schedule()
  if (plan === undefined) return ''
  const text = describe(plan)
  commit(scheduler, plan, tokenId)
  return text
}

export function describe(plan: StepPlan): string {
  return plan.rows.map((row) => `${row.sequence.id}:${row.numTokens}`).join(' ')
}
