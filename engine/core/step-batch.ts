import type { Submission } from '../frames-to-core.js'
import type { StepBatchViews } from './addon.js'
import { type AdjustmentSink, logitsProcessors } from './logits-processors.js'

/** What packing reads of a scheduled sequence; `scheduler/sequence.ts` has more. */
export interface ScheduledSequence {
  readonly id: number
  readonly tokenIds: Int32Array
  readonly numTokens: number
  readonly numPromptTokens: number
  readonly numComputedTokens: number
  readonly numScheduledTokens: number
  readonly samples: boolean
  readonly blockTable: Int32Array
  readonly numBlocks: number
  readonly samplerSlot: number
}

export interface BatchShape {
  readonly blockSize: number
  readonly maxBlocksPerSequence: number
}

/**
 * Writes the decisions of one step into the memory that native code reads. Sequences come in the
 * order of the plan: decodes first. Only integers and floats are written, and nothing is allocated.
 */
export function packStepBatch(
  views: StepBatchViews,
  sequences: readonly ScheduledSequence[],
  submissions: ReadonlyMap<number, Submission>,
  shape: BatchShape,
): void {
  const adjustments: AdjustmentSink = {
    tokenIds: views.biasTokenIds,
    values: views.biasValues,
    length: 0,
  }
  let numTokens = 0
  for (let row = 0; row < sequences.length; row++) {
    const sequence = sequences[row]!
    const submission = submissions.get(sequence.id)
    // The scheduler knows only what was submitted, so this is a bug of ours.
    if (submission === undefined) throw new Error(`sequence ${sequence.id} was never submitted`)

    packTokens(views, sequence, numTokens, shape.blockSize)
    packSequence(views, row, sequence, numTokens, shape.maxBlocksPerSequence)
    packSampling(views, row, submission)
    views.biasStarts[row] = adjustments.length
    if (sequence.samples) {
      const numOutputTokens = sequence.numTokens - sequence.numPromptTokens
      for (const process of logitsProcessors) process(submission, numOutputTokens, adjustments)
    }
    numTokens += sequence.numScheduledTokens
  }
  views.numBlockCopies[0] = 0
  views.queryStarts[sequences.length] = numTokens
  views.biasStarts[sequences.length] = adjustments.length
}

/** The tokens [numComputedTokens, numComputedTokens + numScheduledTokens) and where they go. */
function packTokens(
  views: StepBatchViews,
  sequence: ScheduledSequence,
  start: number,
  blockSize: number,
): void {
  const { tokenIds, blockTable, numComputedTokens, numScheduledTokens } = sequence
  for (let i = 0; i < numScheduledTokens; i++) {
    const position = numComputedTokens + i
    const blockId = blockTable[Math.floor(position / blockSize)]!
    views.tokenIds[start + i] = tokenIds[position]!
    views.positions[start + i] = position
    views.slotMapping[start + i] = blockId * blockSize + (position % blockSize)
  }
}

function packSequence(
  views: StepBatchViews,
  row: number,
  sequence: ScheduledSequence,
  start: number,
  maxBlocksPerSequence: number,
): void {
  const { blockTable, numBlocks } = sequence
  views.samplerSlots[row] = sequence.samplerSlot
  views.sampleRows[row] = sequence.samples ? 1 : 0
  views.queryStarts[row] = start
  views.contextLens[row] = sequence.numComputedTokens + sequence.numScheduledTokens
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
  // One sequence is one choice of its request, and until a request has several, the first.
  views.choices[row] = 0
  views.seedsLow[row] = submission.seedLow
  views.seedsHigh[row] = submission.seedHigh
}
