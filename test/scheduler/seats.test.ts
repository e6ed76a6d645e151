import t from 'tap'
import { BlockPool } from '../../scheduler/block-pool.js'
import { growTable } from '../../scheduler/block-table.js'
import { Seats } from '../../scheduler/seats.js'
import type { Sequence } from '../../scheduler/sequence.js'
import { StepsInFlight } from '../../scheduler/steps-in-flight.js'
import { makeSequence } from './simulation/make-sequence.js'

function createSeats(maxRunning = 3) {
  const pool = new BlockPool(8, 2, 0)
  const steps = new StepsInFlight(2, 3)
  const seats = new Seats(3, maxRunning, pool, steps)
  const seat = (id: number, priority = 0): Sequence => {
    const sequence = makeSequence(id, { priority })
    growTable(sequence, pool)
    seats.take(sequence)
    seats.checkAccounting()
    return sequence
  }
  return { pool, steps, seats, seat }
}

t.test('a seat is a sampler slot, and goes back whole', async (t) => {
  const { pool, seats, seat } = createSeats()
  const [a, b, c] = [seat(1), seat(2), seat(3)]
  t.same([a, b, c].map((s) => s.samplerSlot).sort(), [0, 1, 2])
  t.notOk(seats.hasFree)
  t.match(b, { status: 'running', account: { numRunning: 1 } })
  seats.leave(b)
  t.match(b, { status: 'finished', samplerSlot: -1, numBlocks: 0, account: { numRunning: 0 } })
  t.equal(pool.numUsedBlocks, 2)
  t.ok(seats.hasFree)
  seats.checkAccounting()
})

t.test('there may be fewer seats than slots', async (t) => {
  const { seats, seat } = createSeats(2)
  seat(1)
  t.ok(seats.hasFree)
  seat(2)
  t.notOk(seats.hasFree)
})

t.test('with a step in flight a seat goes back behind it', async (t) => {
  const { pool, steps, seats, seat } = createSeats()
  const sequence = seat(1)
  sequence.lastStep = 1
  sequence.numPendingTokens = 1
  const plan = steps.prepare()
  steps.launch()
  seats.leave(sequence)
  t.match(sequence, { status: 'finished', samplerSlot: 0, numBlocks: 1 })
  seats.giveBackLeft()
  t.equal(sequence.numBlocks, 1)
  seats.checkAccounting()
  steps.land(plan, pool)
  seats.giveBackLeft()
  t.match(sequence, { samplerSlot: -1, numBlocks: 0, numPendingTokens: 0 })
  seats.checkAccounting()
})

t.test('the newest of the worst priority is found, the protected never', async (t) => {
  const { seats, seat } = createSeats()
  const [low, lower, high] = [seat(1, 3), seat(2, 3), seat(3, -1)]
  t.equal(seats.findNewest(), lower)
  t.equal(seats.findNewest(high.account), high, 'of this tenant')
  lower.numPreemptions = 2
  t.equal(seats.findNewest(), low)
  low.numPreemptions = 2
  t.equal(seats.findNewest(), high)
  high.numPreemptions = 2
  t.equal(seats.findNewest(), undefined)
})

t.test('a preempted sequence keeps nothing', async (t) => {
  const { pool, seats, seat } = createSeats()
  const sequence = seat(1)
  seats.preempt(sequence)
  t.match(sequence, { status: 'waiting', numPreemptions: 1, numBlocks: 0, samplerSlot: -1 })
  t.equal(sequence.account.numRunning, 0)
  t.equal(pool.numFreeBlocks, 8)
  seats.checkAccounting()
})

t.test('blocks are counted for the decodes that ask for one', async (t) => {
  const { seats, seat } = createSeats()
  const [a, b, c] = [seat(1), seat(2), seat(3)]
  for (const s of [a, b, c]) s.numPlannedTokens = 2
  t.equal(seats.countBlocksForDecodes(), 3)
  a.numPlannedTokens = 1
  t.equal(seats.countBlocksForDecodes(), 2, 'a prompt has its blocks')
  for (let i = 0; i < 2; i++) b.appendToken(9)
  b.numPlannedTokens = 5
  b.numPendingTokens = 1
  b.numBlocks = 2
  t.equal(seats.countBlocksForDecodes(), 1, 'the last token is in flight')
})

t.test('a slot that is lost is missed', async (t) => {
  const { seats } = createSeats()
  seats.samplerSlots.takeFront()
  t.throws(() => seats.checkAccounting(), /sampler slots do not add up: 2/)
})

t.test('a seat without a sampler slot is none', async (t) => {
  const { pool, steps, seats, seat } = createSeats()
  const [first] = [seat(1), seat(2), seat(3)]
  first.lastStep = 1
  const plan = steps.prepare()
  steps.launch()
  seats.leave(first)
  t.notOk(seats.hasFree, 'it is still counting tokens there')
  steps.land(plan, pool)
  seats.giveBackLeft()
  t.ok(seats.hasFree)
})
