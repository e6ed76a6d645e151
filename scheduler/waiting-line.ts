import { assert } from './assert.js'
import { maxPriority, minPriority, type Sequence } from './sequence.js'
import { SequenceQueue } from './sequence-queue.js'
import type { Tenants } from './tenants.js'

/** So many admissions in a row may pass over a priority that waits; the next one is its. */
export const maxPasses = 16

/** What waits with one priority. */
interface Level {
  /**
   * Sequences by tenant, in order of arrival. The first tenant is the one whose turn it is. Tenants
   * of which nothing runs are in `fresh`, and go first.
   */
  readonly fresh: Map<number, SequenceQueue>
  readonly tenants: Map<number, SequenceQueue>
  /** Admissions of fresh tenants since one of the others had one. */
  numFreshPasses: number
  /** Admissions of better priority since the level had one. */
  numPasses: number
}

/**
 * Who is next among the sequences that wait:
 *
 *   1. the best priority, unless a worse one was passed over maxPasses times: then that one
 *   2. within it a tenant of which nothing runs, though not maxPasses times in a row
 *   3. then the tenants take turns, by tokens that were computed for them (deficit round robin)
 *   4. within a tenant those that were preempted, then first come, first served
 *
 * The first in line stays the first until it leaves the line, unless a better priority comes. If it
 * cannot be admitted nobody is: so nobody is overtaken for ever.
 */
export class WaitingLine {
  readonly #levels: Level[] = []
  readonly #tenants: Tenants
  /** Tokens that a tenant's turn is worth. */
  readonly quantum: number
  /** Never admitted, nor any other choice of their request; in order of arrival. */
  readonly #unstarted = new Set<Sequence>()
  #length = 0
  #numTokens = 0

  constructor(tenants: Tenants, quantum: number) {
    this.#tenants = tenants
    this.quantum = quantum
    for (let priority = minPriority; priority <= maxPriority; priority++) {
      this.#levels.push({ fresh: new Map(), tenants: new Map(), numFreshPasses: 0, numPasses: 0 })
    }
  }

  get length(): number {
    return this.#length
  }

  /** Known tokens of all that wait. */
  get numTokens(): number {
    return this.#numTokens
  }

  /** Who is next; undefined if nobody waits. Asking changes whose turn it is, not the answer. */
  get first(): Sequence | undefined {
    const level = this.#chooseLevel()
    if (level === undefined) return undefined
    const { fresh, tenants, numFreshPasses } = level
    if (tenants.size === 0 || (fresh.size > 0 && numFreshPasses < maxPasses)) {
      return fresh.values().next().value!.first
    }
    for (;;) {
      // A map keeps the order in which its keys were set, so the first one is whose turn it is.
      const [tenant, queue] = tenants.entries().next().value!
      const sequence = queue.first!
      const { account } = sequence
      if (account.deficit > 0 || tenants.size === 1) return sequence
      // Its turn is over. The next one is worth as much, and comes after everybody else's.
      account.deficit += this.quantum
      tenants.delete(tenant)
      tenants.set(tenant, queue)
    }
  }

  /** Makes the first in line stay it, though its tenant is in debt, when others come behind it. */
  keepFirst({ account }: Sequence): void {
    account.deficit = Math.max(account.deficit, 1)
  }

  /** Puts a new sequence behind those of its tenant. */
  add(sequence: Sequence): void {
    this.#queueOf(sequence).pushBack(sequence)
    this.#unstarted.add(sequence)
    this.#count(sequence, 1)
  }

  /** Puts a preempted sequence before all of its tenant: it is older than they. */
  putBack(sequence: Sequence): void {
    this.#queueOf(sequence).pushFront(sequence)
    this.#count(sequence, 1)
  }

  /** Takes a sequence out that was admitted, and counts whom it was preferred to. */
  admit(sequence: Sequence): void {
    for (let p = sequence.priority + 1; p <= maxPriority; p++) {
      const worse = this.#levels[p - minPriority]!
      if (!isEmpty(worse)) worse.numPasses++
    }
    const level = this.#levelOf(sequence)
    level.numPasses = 0
    const { tenant } = sequence
    const queue = level.fresh.get(tenant)
    if (queue === undefined) {
      level.numFreshPasses = 0
    } else {
      if (level.tenants.size > 0) level.numFreshPasses++
      // Something of it runs now: from here on it takes turns like all others.
      level.fresh.delete(tenant)
      level.tenants.set(tenant, queue)
    }
    // Once a choice has begun, its request is not given up for waiting too long.
    for (const choice of sequence.choices) this.#unstarted.delete(choice)
    this.remove(sequence)
  }

  /** Takes a sequence out, wherever it stands. */
  remove(sequence: Sequence): void {
    const level = this.#levelOf(sequence)
    const turns = level.fresh.has(sequence.tenant) ? level.fresh : level.tenants
    const queue = turns.get(sequence.tenant)
    assert(queue !== undefined, 'a sequence left a line it is not in', sequence.id)
    queue.remove(sequence)
    if (queue.length === 0) turns.delete(sequence.tenant)
    if (level.tenants.size === 0) level.numFreshPasses = 0
    if (isEmpty(level)) level.numPasses = 0
    this.#unstarted.delete(sequence)
    this.#count(sequence, -1)
  }

  /** Who has waited longest of those whose request has not begun. */
  get firstArrived(): Sequence | undefined {
    for (const sequence of this.#unstarted) return sequence
    return undefined
  }

  /** Everybody, in no order that means anything; for checks. */
  *values(): Iterable<Sequence> {
    for (const { fresh, tenants } of this.#levels) {
      for (const queue of [...fresh.values(), ...tenants.values()]) {
        for (let s = queue.first; s !== undefined; s = s.next) yield s
      }
    }
  }

  /** Throws unless everybody stands where it should and the counts are right. */
  checkIntegrity(): void {
    let numTokens = 0
    let length = 0
    let numUnstarted = 0
    for (const sequence of this.values()) {
      numTokens += sequence.numTokens
      length++
      if (this.#unstarted.has(sequence)) numUnstarted++
    }
    assert(length === this.#length, 'the waiting sequences are miscounted', length)
    assert(numTokens === this.#numTokens, 'the waiting tokens are miscounted', numTokens)
    assert(numUnstarted === this.#unstarted.size, 'somebody is awaited who does not wait')
    for (const level of this.#levels) {
      const isRight =
        (level.numPasses === 0 || !isEmpty(level)) &&
        (level.numFreshPasses === 0 || level.tenants.size > 0)
      assert(isRight, 'nobody was passed over so many times', level.numPasses)
      for (const [tenant, { first }] of [...level.fresh, ...level.tenants]) {
        assert(first !== undefined, 'a tenant has a turn and nobody waits', tenant)
      }
    }
  }

  #levelOf(sequence: Sequence): Level {
    return this.#levels[sequence.priority - minPriority]!
  }

  #queueOf(sequence: Sequence): SequenceQueue {
    const { tenant, account } = sequence
    const { fresh, tenants } = this.#levelOf(sequence)
    const known = fresh.get(tenant) ?? tenants.get(tenant)
    if (known !== undefined) return known
    const queue = new SequenceQueue()
    const turns = account.numRunning > 0 ? tenants : fresh
    turns.set(tenant, queue)
    return queue
  }

  #chooseLevel(): Level | undefined {
    let best: Level | undefined
    let patient: Level | undefined
    for (const level of this.#levels) {
      if (isEmpty(level)) continue
      best ??= level
      if (level.numPasses >= (patient?.numPasses ?? maxPasses)) patient = level
    }
    return patient ?? best
  }

  #count(sequence: Sequence, change: 1 | -1): void {
    this.#length += change
    this.#numTokens += change * sequence.numTokens
    this.#tenants.countWaiting(sequence.account, change)
  }
}

function isEmpty({ fresh, tenants }: Level): boolean {
  return fresh.size + tenants.size === 0
}
