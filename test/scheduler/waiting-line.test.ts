import t from 'tap'
import type { Sequence, SequenceSpec } from '../../scheduler/sequence.js'
import { Tenants } from '../../scheduler/tenants.js'
import { maxPasses, WaitingLine } from '../../scheduler/waiting-line.js'
import { makeSequence } from './simulation/make-sequence.js'

const quantum = 10

function createLine() {
  const tenants = new Tenants(100)
  const line = new WaitingLine(tenants, quantum)
  const add = (id: number, fields: Partial<SequenceSpec> = {}): Sequence => {
    const account = tenants.open(fields.tenant ?? 0)
    const sequence = makeSequence(id, fields, { account, arrivedMs: id })
    line.add(sequence)
    line.checkIntegrity()
    return sequence
  }
  /** Admits the first in line and charges its tenant; returns its id, or 0 if nobody waits. */
  const admit = (numTokens = 0): number => {
    const sequence = line.first
    if (sequence === undefined) return 0
    t.equal(line.first, sequence, 'asking again gives the same answer')
    line.admit(sequence)
    sequence.account.numRunning++
    tenants.charge(sequence.account, numTokens)
    line.checkIntegrity()
    tenants.checkIntegrity(quantum)
    return sequence.id
  }
  const admitAll = (numTokens = 0) => {
    const ids = []
    for (let id = admit(numTokens); id !== 0; id = admit(numTokens)) ids.push(id)
    return ids
  }
  return { tenants, line, add, admit, admitAll }
}

t.test('one tenant is served in order of arrival', async (t) => {
  const { line, add, admitAll } = createLine()
  t.equal(line.first, undefined)
  for (let id = 1; id <= 4; id++) add(id)
  t.equal(line.length, 4)
  t.equal(line.numTokens, 12)
  t.same(admitAll(100), [1, 2, 3, 4])
  t.equal(line.numTokens, 0)
})

t.test('tenants take turns by the tokens that are computed for them', async (t) => {
  const { add, admitAll } = createLine()
  for (let id = 1; id <= 6; id++) add(id, { tenant: 1 })
  for (let id = 11; id <= 13; id++) add(id, { tenant: 2 })
  // Nothing of either runs, so each has one at once. Then two sequences of five tokens are a turn.
  t.same(admitAll(5), [1, 11, 2, 12, 3, 4, 13, 5, 6])
})

t.test(
  'a tenant that took more than its turn waits until the others have had as much',
  async (t) => {
    const { add, admit, admitAll } = createLine()
    for (let id = 1; id <= 3; id++) add(id, { tenant: 1 })
    for (let id = 11; id <= 16; id++) add(id, { tenant: 2 })
    t.equal(admit(35), 1)
    t.same([admit(10), admit(10), admit(10)], [11, 12, 13])
    t.equal(admit(10), 2)
    t.same(admitAll(10), [14, 3, 15, 16])
  },
)

t.test('the better priority goes first, but a worse one is not forgotten', async (t) => {
  const { add, admit } = createLine()
  for (let id = 100; id < 140; id++) add(id, { priority: -3 })
  add(1, { priority: 0 })
  add(2, { priority: 7 })
  const ids = Array.from({ length: 2 * maxPasses }, () => admit())
  t.same(
    ids.slice(0, maxPasses),
    [...Array(maxPasses).keys()].map((i) => 100 + i),
  )
  t.same(ids.slice(maxPasses, maxPasses + 3), [2, 1, 116], 'each after so many passes')
  t.equal(ids.filter((id) => id < 100).length, 2)
})

t.test('passes are forgotten when a priority has nobody in line', async (t) => {
  const { line, add, admit } = createLine()
  for (let id = 100; id < 140; id++) add(id, { priority: -3 })
  const gone = add(1)
  for (let i = 0; i < maxPasses; i++) admit()
  t.equal(line.first, gone)
  line.remove(gone)
  add(2)
  t.equal(line.first!.id, 100 + maxPasses)
  line.checkIntegrity()
})

t.test('a tenant of which nothing runs goes before the others, once', async (t) => {
  const { add, admit, admitAll } = createLine()
  for (let id = 1; id <= 4; id++) add(id, { tenant: 1 })
  t.equal(admit(1), 1)
  for (const id of [11, 12, 13]) add(id, { tenant: 2 })
  t.equal(admit(5), 11)
  // Both have used some of their turns, and the first was here before.
  t.same(admitAll(5), [2, 3, 12, 4, 13])
})

t.test('tenants that come one after another do not hold up the others for ever', async (t) => {
  const { line, add, admit } = createLine()
  for (let id = 1; id <= 3; id++) add(id, { tenant: 1 })
  t.equal(admit(), 1)
  for (let id = 100; id < 140; id++) add(id, { tenant: id })
  const ids = Array.from({ length: 2 * maxPasses + 2 }, () => admit())
  t.same(
    ids.slice(0, maxPasses),
    [...Array(maxPasses).keys()].map((i) => 100 + i),
  )
  t.equal(ids[maxPasses], 2)
  t.equal(ids[2 * maxPasses + 1], 3)
  line.checkIntegrity()
})

t.test('preempted sequences come before all others of their tenant', async (t) => {
  const { line, add, admit, admitAll } = createLine()
  const [old, young] = [add(1), add(2)]
  t.same(admitAll(), [1, 2])
  add(3)
  const better = add(4, { priority: -1 })
  for (const sequence of [young, old]) {
    sequence.numPreemptions = 1
    sequence.account.numRunning--
    line.putBack(sequence)
    line.checkIntegrity()
  }
  t.equal(line.length, 4)
  t.equal(admit(), better.id, 'not before a better priority')
  t.same(admitAll(), [1, 2, 3])
  young.account.numRunning--
  line.putBack(young)
  line.remove(young)
  t.equal(line.length, 0)
  line.checkIntegrity()
})

t.test('who has waited longest is known until its request has begun', async (t) => {
  const { line, add, admit } = createLine()
  t.equal(line.firstArrived, undefined)
  const [first, second, third] = [add(1), add(2, { tenant: 1 }), add(3, { tenant: 1 })]
  first.choices = [first, second]
  t.equal(line.firstArrived, first)
  t.equal(admit(), 1)
  t.equal(line.firstArrived, third, 'the second is a choice of the same request')
  line.remove(third)
  t.equal(line.firstArrived, undefined)
  t.same([...line.values()], [second])
})

t.test('a sequence that is not in line cannot leave it', async (t) => {
  const { line } = createLine()
  t.throws(() => line.remove(makeSequence(5)), /left a line it is not in: 5/)
})

t.test('the next priority is passed over like any worse one', async (t) => {
  const { add, admit } = createLine()
  for (let id = 100; id < 120; id++) add(id)
  add(1, { priority: 1 })
  const ids = Array.from({ length: maxPasses + 1 }, () => admit())
  t.equal(ids.indexOf(1), maxPasses)
})

t.test('whoever is kept first gets the least that its turn lasts by', async (t) => {
  const { line, add } = createLine()
  const first = add(1)
  for (const [deficit, kept] of [
    [-30, 1],
    [0, 1],
    [4, 4],
  ] as const) {
    first.account.deficit = deficit
    line.keepFirst(first)
    t.equal(first.account.deficit, kept)
  }
})

t.test('those that were passed over are forgotten when they leave', async (t) => {
  const { line, add, admit } = createLine()
  add(1, { tenant: 1 })
  const second = add(2, { tenant: 1 })
  t.equal(admit(), 1)
  for (let id = 10; id < 15; id++) add(id, { tenant: id })
  t.same([admit(), admit()], [10, 11])
  line.remove(second)
  line.checkIntegrity()
})

t.test('a priority that had its admission is passed over as often again', async (t) => {
  const { add, admit } = createLine()
  for (let id = 100; id < 140; id++) add(id, { priority: -1 })
  for (const id of [1, 2]) add(id)
  const ids = Array.from({ length: 2 * maxPasses + 2 }, () => admit())
  t.same([ids.indexOf(1), ids.indexOf(2)], [maxPasses, 2 * maxPasses + 1])
})
