import type { SchedulerLimits } from '../../../scheduler/limits.js'
import type { Sequence } from '../../../scheduler/sequence.js'
import type { StepPlan } from '../../../scheduler/step-plan.js'
import { fail } from './mock-model.js'

/** What the simulation remembers of a sequence, apart from what the sequence says of itself. */
export interface Shadow {
  readonly sequence: Sequence
  /** Was running when the last step was planned. */
  isRunning: boolean
  numPlannedTokens: number
  samplerSlot: number
  numPreemptions: number
  /** Counts admissions. */
  admission: number
}

/** Budget, order, contiguity, slots: all that can be said of one plan. */
export function checkPlan(
  plan: StepPlan,
  limits: SchedulerLimits,
  live: ReadonlyMap<number, Shadow>,
): void {
  checkCounts(plan, limits)
  const slots = new Set<number>()
  const admitted = new Set(plan.admitted)
  plan.rows.forEach(({ sequence, start, samples }, i) => {
    const shadow = live.get(sequence.id)
    if (shadow === undefined) fail(`sequence ${sequence.id} was planned after it had ended`)
    if (sequence.status !== 'running') fail(`a planned sequence is ${sequence.status}`)
    const { samplerSlot } = sequence
    if (samplerSlot < 0 || samplerSlot >= limits.maxSequences) fail(`sampler slot ${samplerSlot}`)
    slots.add(samplerSlot)
    if (admitted.has(sequence) === shadow.isRunning) fail(`sequence ${sequence.id} and admitted`)
    if (shadow.isRunning) {
      if (start !== shadow.numPlannedTokens) fail(`sequence ${sequence.id} goes on at ${start}`)
      if (samplerSlot !== shadow.samplerSlot) fail(`sequence ${sequence.id} changed its slot`)
    }
    const isLast = i === plan.rows.length - 1
    if (!samples && !(isLast && plan.numTokens === limits.maxTokensPerStep)) {
      fail(`sequence ${sequence.id} got a part of its prompt though the budget was not used up`)
    }
  })
  if (slots.size !== plan.rows.length) fail('two sequences of a step share a sampler slot')
  const planned = new Set(plan.rows.map(({ sequence }) => sequence))
  if (planned.size !== plan.rows.length) fail('a sequence is in a plan twice')
  if (!plan.admitted.every((sequence) => planned.has(sequence))) {
    fail('a sequence was admitted that does not run')
  }
}

function checkCounts(plan: StepPlan, limits: SchedulerLimits): void {
  const { rows, numTokens, numDecodes } = plan
  if (rows.length > limits.maxSequences) fail(`${rows.length} sequences in a step`)
  if (numTokens > limits.maxTokensPerStep) fail(`${numTokens} tokens in a step`)
  let sum = 0
  rows.forEach(({ sequence, start, numTokens: n, sourceRow }, i) => {
    if (n < 1) fail(`sequence ${sequence.id} was planned with ${n} tokens`)
    if (i < numDecodes && n !== 1) fail(`decode ${i} has ${n} tokens`)
    if (start + n > sequence.numTokens !== sourceRow >= 0) fail('unknown tokens were planned')
    if (sourceRow >= 0 && n !== 1) fail(`${n} unknown tokens were planned`)
    sum += n
  })
  if (sum !== numTokens) fail(`the plan says ${numTokens} tokens, its sequences ${sum}`)
}

/**
 * Compares who runs now with who ran before: decodes are never left out, preemption takes a
 * tenant's newest of its worst priority, within a tenant and a priority first admissions are in order of
 * arrival, nobody is preempted three times.
 */
export function checkTransitions(plan: StepPlan, live: ReadonlyMap<number, Shadow>): void {
  const planned = new Set(plan.rows.map(({ sequence }) => sequence))
  const oldestWaiting = new Map<string, number>()
  const unprotected: Shadow[] = []
  const preempted: Shadow[] = []
  const lineOf = ({ tenant, priority }: Sequence) => `${tenant}:${priority}`
  for (const [id, shadow] of live) {
    const { sequence, isRunning, numPreemptions } = shadow
    const isDecode = sequence.numUnplannedTokens === 1 && !sequence.isLastTokenPending
    if (sequence.status === 'running' && isDecode && !planned.has(sequence)) {
      fail(`decode ${id} was left out`)
    }
    if (sequence.status === 'waiting' && sequence.numPreemptions === 0) {
      const line = lineOf(sequence)
      oldestWaiting.set(line, Math.min(id, oldestWaiting.get(line) ?? id))
    }
    const isUnprotected = sequence.status === 'running' && sequence.numPreemptions < 2
    if (isUnprotected) unprotected.push(shadow)
    if (sequence.numPreemptions === numPreemptions) continue
    if (sequence.numPreemptions !== numPreemptions + 1) fail(`sequence ${id} was preempted twice`)
    if (sequence.numPreemptions > 2) fail(`sequence ${id} was preempted a third time`)
    if (!isRunning) fail(`sequence ${id} was preempted though it did not run`)
    preempted.push(shadow)
  }
  for (const { sequence } of unprotected) {
    const waits = oldestWaiting.get(lineOf(sequence)) ?? Number.POSITIVE_INFINITY
    if (sequence.numPreemptions === 0 && sequence.id > waits)
      fail(`sequence ${waits} was overtaken`)
  }
  for (const victim of preempted) {
    for (const other of unprotected) {
      if (other.sequence.tenant !== victim.sequence.tenant) continue
      const worse = other.sequence.priority - victim.sequence.priority
      if (worse > 0 || (worse === 0 && other.admission > victim.admission)) {
        fail(`${victim.sequence.id} was preempted, not ${other.sequence.id}`)
      }
    }
  }
}
