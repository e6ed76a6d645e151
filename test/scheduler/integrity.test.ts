import t from 'tap'
import { rootParent } from '../../scheduler/block-hash.js'
import { BlockPool } from '../../scheduler/block-pool.js'
import { FreeList } from '../../scheduler/free-list.js'
import { checkIntegrity } from '../../scheduler/integrity.js'
import type { Sequence } from '../../scheduler/sequence.js'
import { SequenceQueue } from '../../scheduler/sequence-queue.js'
import { StepsInFlight } from '../../scheduler/steps-in-flight.js'
import { type TenantAccount, Tenants } from '../../scheduler/tenants.js'
import { WaitingLine } from '../../scheduler/waiting-line.js'
import { makeSequence } from './simulation/make-sequence.js'

function create(id: number, account: TenantAccount): Sequence {
  const promptTokenIds = Int32Array.of(id, 2, 3, 4, 5, 6)
  return makeSequence(id, { promptTokenIds, maxTokens: 4 }, { blockSize: 4, account })
}

/** A right state: 1 and 2 run with one published and one private block each, 3 waits. */
function createState() {
  const pool = new BlockPool(8, 4, 0)
  const samplerSlots = new FreeList(4)
  samplerSlots.pushBack(2)
  samplerSlots.pushBack(3)
  const tenants = new Tenants(100)
  const account = tenants.open(0)
  const running = new SequenceQueue()
  const waiting = new WaitingLine(tenants, 8)
  // Seven steps were planned, of which the last is in flight.
  const steps = new StepsInFlight(1, 4)
  let newest = steps.prepare()
  steps.launch()
  for (let i = 1; i < 7; i++) {
    steps.land(newest, pool)
    newest = steps.prepare()
    steps.launch()
  }
  const [first, second, third] = [1, 2, 3].map((id) => create(id, account)) as [
    Sequence,
    Sequence,
    Sequence,
  ]
  waiting.add(third)
  for (const [slot, s] of [first, second].entries()) {
    running.pushBack(s)
    account.numRunning++
    s.status = 'running'
    s.samplerSlot = slot
    s.blockTable[0] = pool.take()
    s.blockTable[1] = pool.take()
    s.numBlocks = 2
    s.numComputedTokens = 5
    s.numPlannedTokens = 5
    pool.publish(s.blockTable[0], rootParent, 0, s.tokenIds, 0)
    s.numPublishedBlocks = 1
  }
  const sequences = new Map([first, second, third].map((s) => [s.id, s]))
  const state = { pool, samplerSlots, sequences, tenants, waiting, running, steps }
  return { state, account, newest, first, second, third }
}

t.test('a right state passes, also with one aborted in flight', async (t) => {
  const { state, first } = createState()
  t.doesNotThrow(() => checkIntegrity(state))
  end(state, first, 7)
  state.steps.fencedBlocks.push(state.pool.take())
  t.doesNotThrow(() => checkIntegrity(state))
})

/** Ends a sequence that this step still has. */
function end(state: ReturnType<typeof createState>['state'], s: Sequence, lastStep: number): void {
  s.status = 'finished'
  s.lastStep = lastStep
  s.account.numRunning--
  state.sequences.delete(s.id)
  state.running.remove(s)
  state.steps.leaving.pushBack(s)
}

type Parts = ReturnType<typeof createState>

const damages: [string, RegExp, (parts: Parts) => void][] = [
  [
    'a waiting sequence with blocks',
    /waiting sequence holds something: 3/,
    ({ third }) => {
      third.numBlocks = 1
    },
  ],
  [
    'a waiting sequence with tokens',
    /waiting sequence holds something: 3/,
    ({ third }) => {
      third.numComputedTokens = 1
    },
  ],
  [
    'a waiting sequence with tokens of a step in flight',
    /waiting sequence holds something: 3/,
    ({ third }) => {
      Object.assign(third, { numBlocks: 1, numPlannedTokens: 1 })
    },
  ],
  [
    'a waiting sequence with a token to come',
    /waiting sequence holds something: 3/,
    ({ third }) => {
      Object.assign(third, { numComputedTokens: 1, numPendingTokens: 1 })
    },
  ],
  [
    'a waiting sequence with blocks and computed tokens',
    /waiting sequence holds something: 3/,
    ({ third }) => {
      Object.assign(third, { numBlocks: 1, numComputedTokens: 1 })
    },
  ],
  [
    'a waiting sequence with a slot',
    /waiting sequence holds something: 3/,
    ({ third }) => {
      third.samplerSlot = 0
    },
  ],
  [
    'an ended one that waits',
    /waiting sequence holds something: 3/,
    ({ third }) => {
      third.status = 'finished'
    },
  ],
  [
    'a forgotten one that waits',
    /waiting sequence is not known by its id: 3/,
    ({ state }) => {
      state.sequences.delete(3)
    },
  ],
  [
    'a wrong number of tokens in the line',
    /waiting tokens are miscounted: 7/,
    ({ third }) => {
      third.numTokens++
    },
  ],
  [
    'a forgotten one that runs',
    /running sequence is not known by its id: 1/,
    ({ state }) => {
      state.sequences.delete(1)
    },
  ],
  [
    'one that is nowhere',
    /sequences are miscounted: 3/,
    ({ state, account }) => {
      state.sequences.set(4, create(4, account))
    },
  ],
  [
    'one that ends and did not',
    /a sequence leaves that has not ended: 1/,
    ({ state, first }) => {
      end(state, first, 7)
      first.status = 'running'
    },
  ],
  [
    'one that ended and is still known',
    /an ended sequence is still known by its id: 1/,
    ({ state, first }) => {
      end(state, first, 7)
      state.sequences.set(1, first)
    },
  ],
  [
    'one that ended and holds on',
    /an ended sequence holds more than a step has: 1/,
    ({ state, first }) => end(state, first, 6),
  ],
  [
    'a step that was not planned',
    /in a step that was not planned: 1/,
    ({ first }) => {
      first.lastStep = 8
    },
  ],
  [
    'a token that nobody samples',
    /a token is pending that no step samples: 1/,
    ({ first }) => {
      first.numPendingTokens = 1
    },
  ],
  [
    'planned tokens in no step',
    /planned tokens disagree with the steps: 1/,
    ({ first }) => {
      first.numPlannedTokens = 6
    },
  ],
  [
    'a step without planned tokens',
    /planned tokens disagree with the steps: 1/,
    ({ first }) => {
      first.lastStep = 7
    },
  ],
  [
    'a plan beyond the tokens there are',
    /tokens are planned that nobody samples; sequence: 1/,
    ({ first }) => {
      first.lastStep = 7
      first.numPlannedTokens = 6
    },
  ],
  [
    'a fence without a step',
    /a block is fenced, and no step is in flight: 4/,
    ({ state, newest }) => {
      state.steps.land(newest, state.pool)
      state.steps.fencedBlocks.push(state.pool.take())
    },
  ],
  [
    'a fenced block that can be found',
    /a fenced block is published: 0/,
    ({ state, first }) => {
      state.steps.fencedBlocks.push(first.blockTable[0]!)
    },
  ],
  [
    'an ended one that runs',
    /an ended sequence still runs: 1/,
    ({ first }) => {
      first.status = 'finished'
    },
  ],
  [
    'no sampler slot',
    /a sampler slot is free: 1/,
    ({ first }) => {
      first.samplerSlot = -1
    },
  ],
  [
    'a sampler slot that is free',
    /a sampler slot is free: 1/,
    ({ first }) => {
      first.samplerSlot = 2
    },
  ],
  [
    'a sampler slot for two',
    /two sequences have one sampler slot/,
    ({ first }) => {
      first.samplerSlot = 1
    },
  ],
  [
    'a block too few',
    /too many or too few blocks: 1/,
    ({ first }) => {
      first.numBlocks = 1
    },
  ],
  [
    'a block too many',
    /too many or too few blocks: 1/,
    ({ first }) => {
      first.numBlocks = 3
    },
  ],
  [
    'a protected one without its blocks',
    /too many or too few blocks: 1/,
    ({ first }) => {
      first.numPreemptions = 2
    },
  ],
  [
    'tokens from nowhere',
    /computed tokens it has not: 1/,
    ({ first }) => {
      first.numComputedTokens = 6
      first.numPlannedTokens = 6
    },
  ],
  [
    'a full block that is kept back',
    /full block is not published; sequence: 1/,
    ({ first }) => {
      first.numPublishedBlocks = 0
    },
  ],
  [
    'a table that is not its keys',
    /does not agree with the keys; sequence: 1/,
    ({ first }) => {
      first.tokenIds[3] = 99
    },
  ],
  [
    'a partial block that is published',
    /not agree with the keys; sequence: 1/,
    ({ state, first }) => {
      const [parent, block] = first.blockTable
      state.pool.publish(block!, parent!, 0, Int32Array.of(5, 6, 7, 8), 0)
    },
  ],
  [
    'a partial block that is shared',
    /not agree with the keys; sequence: 2/,
    ({ state, first, second }) => {
      const [parent, block] = first.blockTable
      state.pool.publish(block!, parent!, 0, Int32Array.of(5, 6, 7, 8), 0)
      state.running.remove(first)
      first.account.numRunning--
      state.sequences.delete(1)
      second.blockTable[1] = block!
    },
  ],
  [
    'a tenant with a sequence too many',
    /sequences of a tenant are miscounted: 0/,
    ({ account }) => {
      account.numRunning++
    },
  ],
  [
    "a sequence on a stranger's account",
    /on a stranger's account: 1/,
    ({ state, first }) => {
      Object.assign(first, { account: state.tenants.open(1) })
      first.account.numRunning = 1
    },
  ],
  [
    'a block nobody holds',
    /a reference count is not its tables; block: 4/,
    ({ state }) => {
      state.pool.take()
    },
  ],
]

for (const [name, message, damage] of damages) {
  t.test(`seen: ${name}`, async (t) => {
    const parts = createState()
    damage(parts)
    t.throws(() => checkIntegrity(parts.state), { message })
  })
}
