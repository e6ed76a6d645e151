import type { SchedulerLimits } from '../../../scheduler/limits.js'
import type { Sequence } from '../../../scheduler/sequence.js'
import type { StepPlan } from '../../../scheduler/step-plan.js'
import { fail, type Life } from './life.js'

const planned = new Set<Sequence>()
const slots = new Set<number>()
const admitted = new Set<Sequence>()

/** Budget, order, contiguity, slots: all that can be said of one plan. */
export function checkPlan(
  plan: StepPlan,
  limits: SchedulerLimits,
  live: ReadonlyMap<number, Life>,
  mayBeSmall: boolean,
): void {
  checkCounts(plan, limits)
  slots.clear()
  planned.clear()
  admitted.clear()
  for (const sequence of plan.admitted) admitted.add(sequence)
  for (let i = 0; i < plan.rows.length; i++) {
    const { sequence, start, samples } = plan.rows[i]!
    const life = live.get(sequence.id)
    if (life === undefined) fail(`sequence ${sequence.id} was planned after it had ended`)
    if (sequence.status !== 'running') fail(`a planned sequence is ${sequence.status}`)
    const { samplerSlot } = sequence
    if (samplerSlot < 0 || samplerSlot >= limits.maxSequences) fail(`sampler slot ${samplerSlot}`)
    slots.add(samplerSlot)
    planned.add(sequence)
    if (admitted.has(sequence) === life.isRunning) fail(`sequence ${sequence.id} and admitted`)
    if (life.isRunning) {
      if (start !== life.numPlannedTokens) fail(`sequence ${sequence.id} goes on at ${start}`)
      if (samplerSlot !== life.samplerSlot) fail(`sequence ${sequence.id} changed its slot`)
    }
    const isLast = i === plan.rows.length - 1
    const isFull = plan.numTokens === limits.maxTokensPerStep
    if (!samples && !(isLast && (isFull || mayBeSmall))) {
      fail(`sequence ${sequence.id} got a part of its prompt though the budget was not used up`)
    }
  }
  if (slots.size !== plan.rows.length) fail('two sequences of a step share a sampler slot')
  if (planned.size !== plan.rows.length) fail('a sequence is in a plan twice')
  for (const sequence of plan.admitted) {
    if (!planned.has(sequence)) fail('a sequence was admitted that does not run')
  }
}

function checkCounts(plan: StepPlan, limits: SchedulerLimits): void {
  const { rows, numTokens, numDecodes } = plan
  if (rows.length > limits.maxSequences) fail(`${rows.length} sequences in a step`)
  if (numTokens > limits.maxTokensPerStep) fail(`${numTokens} tokens in a step`)
  let sum = 0
  for (let i = 0; i < rows.length; i++) {
    const { sequence, start, numTokens: n, sourceRow } = rows[i]!
    if (n < 1) fail(`sequence ${sequence.id} was planned with ${n} tokens`)
    if (i < numDecodes && n !== 1) fail(`decode ${i} has ${n} tokens`)
    if (start + n > sequence.numTokens !== sourceRow >= 0) fail('unknown tokens were planned')
    if (sourceRow >= 0 && n !== 1) fail(`${n} unknown tokens were planned`)
    sum += n
  }
  if (sum !== numTokens) fail(`the plan says ${numTokens} tokens, its sequences ${sum}`)
}

const oldestWaiting = new Map<number, number>()
const preemptedWaiting = new Map<number, number>()
const unprotected: Life[] = []
const preempted: Life[] = []
/** Small enough that a tenant times 16 is exact. */
const lineOf = ({ tenant, priority }: Sequence) => tenant * 16 + priority

/**
 * Compares who runs now with who ran before, after `checkPlan` of the same plan: decodes are never
 * left out, preemption takes a tenant's newest of its worst priority, within a tenant and a priority
 * first admissions are in order of arrival behind those that were preempted, nobody is preempted
 * three times.
 */
export function checkTransitions(live: ReadonlyMap<number, Life>): void {
  oldestWaiting.clear()
  preemptedWaiting.clear()
  unprotected.length = 0
  preempted.length = 0
  for (const life of live.values()) {
    const { sequence, isRunning, numPreemptions } = life
    const isRunningNow = sequence.status === 'running'
    if (isRunningNow && isDecode(sequence) && !planned.has(sequence)) {
      fail(`decode ${sequence.id} was left out`)
    }
    // Lives are in order of arrival: the first that waits is the oldest of its line.
    if (!isRunningNow) {
      const waiting = sequence.numPreemptions === 0 ? oldestWaiting : preemptedWaiting
      const line = lineOf(sequence)
      if (!waiting.has(line)) waiting.set(line, sequence.id)
    }
    if (isRunningNow && sequence.numPreemptions < 2) unprotected.push(life)
    if (sequence.numPreemptions === numPreemptions) continue
    if (sequence.numPreemptions !== numPreemptions + 1) fail(`${sequence.id} was preempted twice`)
    if (sequence.numPreemptions > 2) fail(`${sequence.id} was preempted a third time`)
    if (!isRunning) fail(`sequence ${sequence.id} was preempted though it did not run`)
    preempted.push(life)
  }
  for (const sequence of admitted) {
    const waits = preemptedWaiting.get(lineOf(sequence))
    if (sequence.numPreemptions === 0 && waits !== undefined) {
      fail(`${sequence.id} was admitted before ${waits}, which was preempted`)
    }
  }
  for (const { sequence } of unprotected) {
    const waits = oldestWaiting.get(lineOf(sequence))
    if (sequence.numPreemptions === 0 && waits !== undefined && sequence.id > waits) {
      fail(`sequence ${waits} was overtaken by ${sequence.id}`)
    }
  }
  for (const victim of preempted) checkVictim(victim)
}

function checkVictim({ sequence, admission }: Life): void {
  for (const other of unprotected) {
    if (other.sequence.tenant !== sequence.tenant) continue
    const worse = other.sequence.priority - sequence.priority
    if (worse > 0 || (worse === 0 && other.admission > admission)) {
      fail(`${sequence.id} was preempted, not ${other.sequence.id}`)
    }
  }
}

/** One token to compute, and not for nothing; said again in the simulation's own words. */
function isDecode(s: Sequence): boolean {
  const numOutputTokens = s.numTokens + s.numPendingTokens - s.numPromptTokens
  return (
    s.numTokens + s.numPendingTokens - s.numPlannedTokens === 1 && numOutputTokens < s.maxTokens
  )
}
