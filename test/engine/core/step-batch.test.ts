import t from 'tap'
import {
  packStepBatch,
  type ScheduledRow,
  type ScheduledStep,
} from '../../../engine/core/step-batch.js'
import { makeViews } from '../support/fake-model.js'
import { makeSubmission } from '../support/submissions.js'

const shape = { blockSize: 4, maxBlocksPerSequence: 3 }
const options = { ...shape, vocabSize: 100, numBlocks: 9, maxTokensPerStep: 8, maxSequences: 3 }

/** One token of an answer: six prompt tokens and two answer tokens in blocks 7 and 2. */
const decode: ScheduledRow = {
  sequence: {
    id: 11,
    choice: 0,
    tokenIds: Int32Array.of(10, 11, 12, 13, 14, 15, 16, 17, 0, 0),
    numPromptTokens: 6,
    blockTable: Int32Array.of(7, 2, 0),
    numBlocks: 2,
    samplerSlot: 2,
  },
  start: 7,
  numTokens: 1,
  samples: true,
  sourceRow: -1,
}
/** The second chunk of a prompt, not its last. */
const chunk: ScheduledRow = {
  sequence: {
    id: 12,
    choice: 3,
    tokenIds: Int32Array.of(20, 21, 22, 23, 24, 25, 26, 27, 28),
    numPromptTokens: 9,
    blockTable: Int32Array.of(3, 8, 1),
    numBlocks: 3,
    samplerSlot: 0,
  },
  start: 2,
  numTokens: 4,
  samples: false,
  sourceRow: -1,
}

t.test('tokens, positions and slots follow the block tables', (t) => {
  const views = pack()
  t.same(Array.from(views.tokenIds.subarray(0, 5)), [17, 22, 23, 24, 25])
  t.same(Array.from(views.positions.subarray(0, 5)), [7, 2, 3, 4, 5])
  // Position 7 is the last of block 2; positions 2 and 3 end block 3, 4 and 5 begin block 8.
  t.same(Array.from(views.slotMapping.subarray(0, 5)), [11, 14, 15, 32, 33])
  t.same(Array.from(views.tokenIds.subarray(5)), [-7, -7, -7], 'nothing is written behind them')
  t.end()
})

t.test('a token that the step in flight samples is named by its row there', (t) => {
  const views = makeViews(options)
  const next = { ...decode, start: 8, sourceRow: 2 }
  const submissions = new Map([[11, makeSubmission({ id: 11 })]])
  packStepBatch(views, step([next]), submissions, shape)
  t.equal(views.tokenIds[0], -3)
  t.equal(views.positions[0], 8)
  t.equal(views.contextLens[0], 9)
  t.end()
})

t.test('sequences keep the order of the plan', (t) => {
  const views = pack()
  t.same(Array.from(views.queryStarts.subarray(0, 3)), [0, 1, 5])
  t.same(Array.from(views.contextLens.subarray(0, 2)), [8, 6])
  t.same(Array.from(views.samplerSlots.subarray(0, 2)), [2, 0])
  t.same(Array.from(views.sampleRows.subarray(0, 2)), [1, 0])
  t.same(Array.from(views.blockTables.subarray(0, 6)), [7, 2, -7, 3, 8, 1])
  t.end()
})

t.test('sampling parameters and both halves of the seed are written', (t) => {
  const views = pack()
  t.equal(views.temperatures[0], Math.fround(0.7))
  t.equal(views.topPs[0], Math.fround(0.9))
  t.equal(views.topKs[0], 40)
  t.equal(views.minPs[0], Math.fround(0.05))
  t.equal(views.repetitionPenalties[0], Math.fround(1.1))
  t.equal(views.frequencyPenalties[0], Math.fround(0.2))
  t.equal(views.presencePenalties[0], Math.fround(-0.3))
  t.equal(views.seedsLow[0], 0xffff_ffff)
  t.equal(views.seedsHigh[0], 0x8000_0000)
  t.same(Array.from(views.choices.subarray(0, 2)), [0, 3])
  t.equal(views.temperatures[1], 0)
  t.end()
})

t.test('adjustments: biases, then bans while the answer is too short, none for a chunk', (t) => {
  const views = pack(3)
  t.same(Array.from(views.biasStarts.subarray(0, 3)), [0, 4, 4])
  t.same(Array.from(views.biasTokenIds.subarray(0, 4)), [50, 51, 1, 2])
  t.same(Array.from(views.biasValues.subarray(0, 4)), [-100, 2.5, -Infinity, -Infinity])
  t.same(Array.from(pack(2).biasStarts.subarray(0, 3)), [0, 2, 2], 'two tokens are enough')
  t.end()
})

t.test('a sequence that was never submitted is a bug', (t) => {
  t.throws(
    () => packStepBatch(makeViews(options), step([decode]), new Map(), shape),
    /never submitted/,
  )
  t.end()
})

function pack(minTokens = 0) {
  const views = makeViews(options)
  const submission = makeSubmission({
    id: 11,
    sampling: {
      temperature: 0.7,
      topP: 0.9,
      topK: 40,
      minP: 0.05,
      repetitionPenalty: 1.1,
      frequencyPenalty: 0.2,
      presencePenalty: -0.3,
    },
    seedLow: 0xffff_ffff,
    seedHigh: 0x8000_0000,
    minTokens,
    stopTokenIds: Int32Array.of(1, 2),
    biasTokenIds: Int32Array.of(50, 51),
    biasValues: Float32Array.of(-100, 2.5),
  })
  const submissions = new Map([
    [11, submission],
    [
      12,
      makeSubmission({ id: 12, biasTokenIds: Int32Array.of(3), biasValues: Float32Array.of(1) }),
    ],
  ])
  packStepBatch(views, step([decode, chunk]), submissions, shape)
  return views
}

t.test('blocks to copy are written in pairs', async (t) => {
  const views = makeViews(options)
  const blockCopies = Int32Array.of(3, 7, 3, 9, 1, 1)
  packStepBatch(views, { ...step([]), blockCopies, numBlockCopies: 2 }, new Map(), shape)
  t.equal(views.numBlockCopies[0], 2)
  t.same([...views.blockCopies.subarray(0, 4)], [3, 7, 3, 9])
})

function step(rows: readonly ScheduledRow[]): ScheduledStep {
  return { rows, blockCopies: new Int32Array(0), numBlockCopies: 0 }
}
