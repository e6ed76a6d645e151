import type { NativeModel, StepBatchViews } from '../../../engine/core/addon.js'

export interface FakeModelOptions {
  readonly vocabSize: number
  readonly numBlocks: number
  readonly blockSize: number
  readonly maxTokensPerStep: number
  readonly maxSequences: number
  readonly maxBlocksPerSequence: number
  /** What a step takes; 0 is one turn of the event loop. */
  readonly stepMs?: number
  /** Called before a step computes; may throw or never resolve. */
  readonly onStep?: () => void | Promise<void>
  /** Called when the results are written, to spoil them. */
  readonly onResults?: (views: StepBatchViews, numSequences: number) => void
}

/**
 * Stands in for native code: the "KV cache" holds token ids, and the next token is a function of
 * all tokens in a sequence's cache. So a wrong slot, position or block table gives other tokens.
 */
export class FakeModel implements NativeModel {
  readonly stepBatches: readonly [StepBatchViews, StepBatchViews]
  readonly memory = { weights: 1000, kvCache: 2000, workspace: 300, sampler: 40 }
  readonly filledSlots: { slot: number; tokenIds: number[]; numPromptTokens: number }[] = []
  numSteps = 0
  isClosed = false
  readonly #options: FakeModelOptions
  readonly #cache: Int32Array

  constructor(options: FakeModelOptions) {
    this.#options = options
    this.#cache = new Int32Array(options.numBlocks * options.blockSize).fill(-1)
    this.stepBatches = [makeViews(options), makeViews(options)]
  }

  async step(numSequences: number, numTokens: number, numDecodes: number): Promise<void> {
    const views = this.stepBatches[this.numSteps++ % 2]!
    await new Promise((resolve) => setTimeout(resolve, this.#options.stepMs ?? 0))
    await this.#options.onStep?.()
    if (views.queryStarts[numSequences] !== numTokens) throw new Error('token counts disagree')
    this.#copyBlocks(views)
    for (let i = 0; i < numTokens; i++) {
      this.#cache[views.slotMapping[i]!] = pair(views.tokenIds[i]!, views.positions[i]!)
    }
    for (let row = 0; row < numSequences; row++) {
      const numNew = views.queryStarts[row + 1]! - views.queryStarts[row]!
      if (row < numDecodes && numNew !== 1) throw new Error('a decode has more than one token')
      if (views.sampleRows[row] === 1) views.sampledTokenIds[row] = this.#sample(views, row)
    }
    this.#options.onResults?.(views, numSequences)
  }

  fillSamplerSlot(slot: number, tokenIds: Int32Array, numPromptTokens: number): void {
    this.filledSlots.push({ slot, tokenIds: Array.from(tokenIds), numPromptTokens })
  }

  close(): void {
    this.isClosed = true
  }

  #copyBlocks({ blockCopies, numBlockCopies }: StepBatchViews): void {
    const { blockSize } = this.#options
    for (let i = 0; i < numBlockCopies[0]!; i++) {
      const source = blockCopies[2 * i]! * blockSize
      this.#cache.copyWithin(blockCopies[2 * i + 1]! * blockSize, source, source + blockSize)
    }
  }

  #sample(views: StepBatchViews, row: number): number {
    const { blockSize, maxBlocksPerSequence, vocabSize } = this.#options
    const context: number[] = []
    for (let position = 0; position < views.contextLens[row]!; position++) {
      const table = row * maxBlocksPerSequence
      const blockId = views.blockTables[table + Math.floor(position / blockSize)]!
      const entry = this.#cache[blockId * blockSize + (position % blockSize)]!
      if (entry % 4096 !== position) throw new Error(`row ${row}: position ${position} is not here`)
      context.push(Math.floor(entry / 4096))
    }
    const banned = new Set<number>()
    for (let i = views.biasStarts[row]!; i < views.biasStarts[row + 1]!; i++) {
      if (views.biasValues[i] === Number.NEGATIVE_INFINITY) banned.add(views.biasTokenIds[i]!)
    }
    return nextFakeToken(context, vocabSize, views.seedsLow[row]!, banned)
  }
}

/** The token that follows a context, in the fake model's opinion. */
export function nextFakeToken(
  context: readonly number[],
  vocabSize: number,
  seed = 0,
  banned: ReadonlySet<number> = new Set(),
): number {
  let hash = seed | 0
  for (const tokenId of context) hash = Math.imul(hash ^ tokenId, 0x9e3779b1) ^ (hash >>> 13)
  let tokenId = (hash >>> 0) % vocabSize
  while (banned.has(tokenId)) tokenId = (tokenId + 1) % vocabSize
  return tokenId
}

/** What a sequence says when nothing ends it. */
export function fakeAnswer(
  prompt: readonly number[],
  numTokens: number,
  vocabSize: number,
  seed = 0,
): number[] {
  const context = [...prompt]
  while (context.length < prompt.length + numTokens) {
    context.push(nextFakeToken(context, vocabSize, seed))
  }
  return context.slice(prompt.length)
}

/** Positions stay below 4096 in tests. */
function pair(tokenId: number, position: number): number {
  return tokenId * 4096 + position
}

/** The views' arrays, in plain memory. */
export function makeViews(options: FakeModelOptions): StepBatchViews {
  const { maxTokensPerStep, maxSequences, maxBlocksPerSequence } = options
  const maxAdjustments = maxSequences * 1100
  const ints = (length: number) => new Int32Array(length).fill(-7)
  const floats = (length: number) => new Float32Array(length).fill(Number.NaN)
  return {
    tokenIds: ints(maxTokensPerStep),
    positions: ints(maxTokensPerStep),
    slotMapping: ints(maxTokensPerStep),
    samplerSlots: ints(maxSequences),
    sampleRows: new Uint8Array(maxSequences).fill(9),
    queryStarts: ints(maxSequences + 1),
    contextLens: ints(maxSequences),
    blockTables: ints(maxSequences * maxBlocksPerSequence),
    temperatures: floats(maxSequences),
    topPs: floats(maxSequences),
    minPs: floats(maxSequences),
    repetitionPenalties: floats(maxSequences),
    frequencyPenalties: floats(maxSequences),
    presencePenalties: floats(maxSequences),
    topKs: ints(maxSequences),
    choices: ints(maxSequences),
    seedsLow: new Uint32Array(maxSequences),
    seedsHigh: new Uint32Array(maxSequences),
    biasStarts: ints(maxSequences + 1),
    biasTokenIds: ints(maxAdjustments),
    biasValues: floats(maxAdjustments),
    blockCopies: ints(2 * maxSequences),
    numBlockCopies: ints(1),
    sampledTokenIds: ints(maxSequences),
  }
}
