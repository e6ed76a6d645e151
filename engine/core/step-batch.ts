import type { Submission } from '../frames-to-core.js'
import type { StepBatchViews } from './addon.js'
import { type AdjustmentSink, logitsProcessors } from './logits-processors.js'

/** What packing reads of a sequence; `scheduler/sequence.ts` has more. */
export interface ScheduledSequence {
  readonly id: number
  readonly choice: number
  readonly tokenIds: Int32Array
  readonly numPromptTokens: number
  readonly blockTable: Int32Array
  readonly numBlocks: number
  readonly samplerSlot: number
}

/** What one step computes for a sequence; see `StepRow` in `scheduler/step-plan.ts`. */
export interface ScheduledRow {
  readonly sequence: ScheduledSequence
  readonly start: number
  readonly numTokens: number
  readonly samples: boolean
  readonly sourceRow: number
}

/** What packing reads of a plan; see `StepPlan` in `scheduler/step-plan.ts`. */
export interface ScheduledStep {
  readonly rows: readonly ScheduledRow[]
  /** Pairs: source, destination. */
  readonly blockCopies: Int32Array
  readonly numBlockCopies: number
}

export interface BatchShape {
  readonly blockSize: number
  readonly maxBlocksPerSequence: number
}

/**
 * Writes the decisions of one step into the memory that native code reads. Rows come in the order
 * of the plan: decodes first. Only integers and floats are written, and nothing is allocated.
 */
export function packStepBatch(
  views: StepBatchViews,
  { rows, blockCopies, numBlockCopies }: ScheduledStep,
  submissions: ReadonlyMap<number, Submission>,
  shape: BatchShape,
): void {
  const adjustments: AdjustmentSink = {
    tokenIds: views.biasTokenIds,
    values: views.biasValues,
    length: 0,
  }
  let numTokens = 0
  for (let row = 0; row < rows.length; row++) {
    const scheduled = rows[row]!
    const { sequence } = scheduled
    const submission = submissions.get(sequence.id)
    // The scheduler knows only what was submitted, so this is a bug of ours.
    if (submission === undefined) throw new Error(`sequence ${sequence.id} was never submitted`)

    packTokens(views, scheduled, numTokens, shape.blockSize)
    packSequence(views, row, scheduled, numTokens, shape.maxBlocksPerSequence)
    packSampling(views, row, submission)
    views.choices[row] = sequence.choice
    views.biasStarts[row] = adjustments.length
    if (scheduled.samples) {
      const numOutputTokens = scheduled.start + scheduled.numTokens - sequence.numPromptTokens
      for (const process of logitsProcessors) process(submission, numOutputTokens, adjustments)
    }
    numTokens += scheduled.numTokens
  }
  views.numBlockCopies[0] = numBlockCopies
  for (let i = 0; i < 2 * numBlockCopies; i++) views.blockCopies[i] = blockCopies[i]!
  views.queryStarts[rows.length] = numTokens
  views.biasStarts[rows.length] = adjustments.length
}

/** The tokens of a row and where they go. One that is not known yet is named by its row, -1 - r. */
function packTokens(
  views: StepBatchViews,
  row: ScheduledRow,
  firstToken: number,
  blockSize: number,
): void {
  const { tokenIds, blockTable } = row.sequence
  for (let i = 0; i < row.numTokens; i++) {
    const position = row.start + i
    const blockId = blockTable[Math.floor(position / blockSize)]!
    views.tokenIds[firstToken + i] = row.sourceRow >= 0 ? -1 - row.sourceRow : tokenIds[position]!
    views.positions[firstToken + i] = position
    views.slotMapping[firstToken + i] = blockId * blockSize + (position % blockSize)
  }
}

function packSequence(
  views: StepBatchViews,
  row: number,
  { sequence, start, numTokens, samples }: ScheduledRow,
  firstToken: number,
  maxBlocksPerSequence: number,
): void {
  const { blockTable, numBlocks } = sequence
  views.samplerSlots[row] = sequence.samplerSlot
  views.sampleRows[row] = samples ? 1 : 0
  views.queryStarts[row] = firstToken
  views.contextLens[row] = start + numTokens
  const offset = row * maxBlocksPerSequence
  for (let i = 0; i < numBlocks; i++) views.blockTables[offset + i] = blockTable[i]!
}

function packSampling(views: StepBatchViews, row: number, submission: Submission): void {
  const { sampling } = submission
  views.temperatures[row] = sampling.temperature
  views.topPs[row] = sampling.topP
  views.minPs[row] = sampling.minP
  views.repetitionPenalties[row] = sampling.repetitionPenalty
  views.frequencyPenalties[row] = sampling.frequencyPenalty
  views.presencePenalties[row] = sampling.presencePenalty
  views.topKs[row] = sampling.topK
  views.seedsLow[row] = submission.seedLow
  views.seedsHigh[row] = submission.seedHigh
}
