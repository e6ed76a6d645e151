import type { NativeModel, NativeModelSpec, StepBatchViews } from '../../../engine/core/addon.js'

/** Sampling of a test sequence; what is left out is off. */
export interface TestSampling {
  readonly temperature?: number
  readonly topK?: number
  readonly topP?: number
  readonly repetitionPenalty?: number
  readonly frequencyPenalty?: number
  readonly seed?: number
  /** Token ids and what is added to their logits. */
  readonly biases?: readonly (readonly [number, number])[]
}

/** A sequence as a test drives it: its tokens, and the blocks and slot it was given. */
export interface TestSequence {
  readonly tokenIds: number[]
  readonly blockTable: readonly number[]
  readonly samplerSlot: number
  readonly sampling: TestSampling
  numComputedTokens: number
}

export interface Scheduled {
  readonly sequence: TestSequence
  readonly numNewTokens: number
}

/** Packs steps in the plainest way and drives a model with them. Blocks are given out once. */
export class Runner {
  readonly #model: NativeModel
  readonly #spec: NativeModelSpec
  readonly #freeBlocks: number[]
  readonly #blockCopies: number[] = []
  #numSequences = 0
  #numSteps = 0

  constructor(model: NativeModel, spec: NativeModelSpec) {
    this.#model = model
    this.#spec = spec
    // An order that is neither rising nor falling, so that a table is never mistaken for a range.
    this.#freeBlocks = Array.from(
      { length: spec.numBlocks },
      (_, i) => (i * 37 + 11) % spec.numBlocks,
    )
  }

  get nextViews(): StepBatchViews {
    return this.#model.stepBatches[this.#numSteps % 2]!
  }

  /** A sequence with blocks for `maxLen` tokens. */
  add(
    promptTokenIds: readonly number[],
    maxLen: number,
    sampling: TestSampling = {},
  ): TestSequence {
    const numBlocks = Math.ceil(maxLen / this.#spec.blockSize)
    const blockTable = this.#freeBlocks.splice(0, numBlocks)
    if (blockTable.length < numBlocks) throw new Error('the test uses more blocks than there are')
    const samplerSlot = this.#numSequences++ % this.#spec.maxSequences
    const tokenIds = [...promptTokenIds]
    this.#model.fillSamplerSlot(samplerSlot, Int32Array.from(tokenIds), tokenIds.length)
    return { tokenIds, blockTable, samplerSlot, sampling, numComputedTokens: 0 }
  }

  /** Gives a sequence's blocks to the next one. */
  remove(sequence: TestSequence): void {
    this.#freeBlocks.push(...sequence.blockTable)
  }

  /** Has the next step that is packed copy a block before it computes. */
  copyBlock(source: number, destination: number): void {
    this.#blockCopies.push(source, destination)
  }

  /** Writes a step into the views without running it. Returns the three numbers of `step`. */
  pack(scheduled: readonly Scheduled[]): [number, number, number] {
    const views = this.nextViews
    let numTokens = 0
    let numBiases = 0
    views.biasStarts[0] = 0
    for (const [s, { sequence, numNewTokens }] of scheduled.entries()) {
      views.queryStarts[s] = numTokens
      for (let i = 0; i < numNewTokens; i++) {
        const position = sequence.numComputedTokens + i
        const { blockSize } = this.#spec
        const block = sequence.blockTable[Math.floor(position / blockSize)]!
        views.tokenIds[numTokens] = sequence.tokenIds[position]!
        views.positions[numTokens] = position
        views.slotMapping[numTokens] = block * blockSize + (position % blockSize)
        numTokens++
      }
      const contextLen = sequence.numComputedTokens + numNewTokens
      views.contextLens[s] = contextLen
      views.sampleRows[s] = contextLen === sequence.tokenIds.length ? 1 : 0
      views.blockTables.set(sequence.blockTable, s * this.#spec.maxBlocksPerSequence)
      views.samplerSlots[s] = sequence.samplerSlot
      packSampling(views, s, sequence.sampling)
      for (const [tokenId, value] of sequence.sampling.biases ?? []) {
        views.biasTokenIds[numBiases] = tokenId
        views.biasValues[numBiases++] = value
      }
      views.biasStarts[s + 1] = numBiases
    }
    views.queryStarts[scheduled.length] = numTokens
    views.blockCopies.set(this.#blockCopies)
    views.numBlockCopies[0] = this.#blockCopies.length / 2
    this.#blockCopies.length = 0
    const numDecodes = scheduled.findIndex(({ numNewTokens }) => numNewTokens > 1)
    return [scheduled.length, numTokens, numDecodes === -1 ? scheduled.length : numDecodes]
  }

  /** Runs a step and appends what was sampled. Sequences with one new token must come first. */
  async step(scheduled: readonly Scheduled[]): Promise<Int32Array> {
    const views = this.nextViews
    await this.#model.step(...this.pack(scheduled))
    this.#numSteps++
    for (const [s, { sequence, numNewTokens }] of scheduled.entries()) {
      sequence.numComputedTokens += numNewTokens
      if (views.sampleRows[s] === 1) sequence.tokenIds.push(views.sampledTokenIds[s]!)
    }
    return views.sampledTokenIds.slice(0, scheduled.length)
  }

  /**
   * Takes `numNewTokens` of each sequence with two steps in flight: a step names its inputs before the
   * step that samples them is done. Rows change places from step to step. Prompts must be computed.
   */
  async decodeOverlapped(sequences: readonly TestSequence[], numNewTokens: number): Promise<void> {
    let rows = [...sequences]
    let settle = async () => {}
    for (let i = 0; i < numNewTokens; i++) {
      const before = i === 0 ? [] : rows
      rows = [...rows].reverse()
      for (const row of before) row.tokenIds.push(-1 - before.indexOf(row))
      const views = this.nextViews
      const sizes = this.pack(rows.map((sequence) => ({ sequence, numNewTokens: 1 })))
      this.#numSteps++
      for (const row of rows) row.numComputedTokens++
      const running = this.#model.step(...sizes)
      await settle()
      const order = rows
      const position = order.map((row) => row.tokenIds.length)
      settle = async () => {
        await running
        for (const [s, row] of order.entries())
          row.tokenIds[position[s]!] = views.sampledTokenIds[s]!
      }
    }
    await settle()
  }

  /** The prompt in chunks of at most `chunkLen`, then `numNewTokens` tokens one by one. */
  async generate(
    sequence: TestSequence,
    numNewTokens: number,
    chunkLen: number,
  ): Promise<number[]> {
    const promptLen = sequence.tokenIds.length
    while (sequence.tokenIds.length < promptLen + numNewTokens) {
      const numLeft = sequence.tokenIds.length - sequence.numComputedTokens
      await this.step([{ sequence, numNewTokens: Math.min(chunkLen, numLeft) }])
    }
    return sequence.tokenIds.slice(promptLen)
  }
}

function packSampling(views: StepBatchViews, s: number, sampling: TestSampling): void {
  views.temperatures[s] = sampling.temperature ?? 0
  views.topKs[s] = sampling.topK ?? 0
  views.topPs[s] = sampling.topP ?? 1
  views.minPs[s] = 0
  views.repetitionPenalties[s] = sampling.repetitionPenalty ?? 1
  views.frequencyPenalties[s] = sampling.frequencyPenalty ?? 0
  views.presencePenalties[s] = 0
  views.choices[s] = 0
  views.seedsLow[s] = sampling.seed ?? 0
  views.seedsHigh[s] = 0
}
