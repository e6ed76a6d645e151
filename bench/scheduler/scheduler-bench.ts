/**
 * What a step costs on this side of the device: schedule + pack + commit with every sequence
 * decoding, for small and large batches and pools, with one step in flight and with two. Run it with
 * `node dist/bench/scheduler/scheduler-bench.js`.
 */
import type { StepBatchViews } from '../../engine/core/addon.js'
import { packStepBatch } from '../../engine/core/step-batch.js'
import type { Submission } from '../../engine/frames-to-core.js'
import { Scheduler } from '../../scheduler/scheduler.js'
import type { StepPlan } from '../../scheduler/step-plan.js'
import { makeSubmission } from '../../test/engine/support/submissions.js'

const numMeasured = 2000
const numWarmUps = 500
const promptLen = 33
const blockSize = 16
const maxContextLen = 16_384
const maxTokensPerStep = 65_536
const maxBlocksPerSequence = maxContextLen / blockSize
const shape = { blockSize, maxBlocksPerSequence }

/** The views of one batch, over memory of our own. */
function makeViews(maxSequences: number): StepBatchViews {
  const int32 = (perSequence: number) => new Int32Array(perSequence * (maxSequences + 1))
  const float32 = () => new Float32Array(maxSequences)
  const perToken = () => new Int32Array(maxTokensPerStep)
  return {
    tokenIds: perToken(),
    positions: perToken(),
    slotMapping: perToken(),
    samplerSlots: int32(1),
    sampleRows: new Uint8Array(maxSequences),
    queryStarts: int32(1),
    contextLens: int32(1),
    blockTables: int32(maxBlocksPerSequence),
    temperatures: float32(),
    topPs: float32(),
    minPs: float32(),
    repetitionPenalties: float32(),
    frequencyPenalties: float32(),
    presencePenalties: float32(),
    topKs: int32(1),
    choices: int32(1),
    seedsLow: new Uint32Array(maxSequences),
    seedsHigh: new Uint32Array(maxSequences),
    biasStarts: int32(1),
    biasTokenIds: int32(1),
    biasValues: float32(),
    blockCopies: int32(2),
    numBlockCopies: new Int32Array(1),
    sampledTokenIds: int32(1),
  }
}

/** As many requests as sequences, and new ones for those that end. */
class Load {
  readonly submissions = new Map<number, Submission>()
  readonly #scheduler: Scheduler
  readonly #numSequences: number
  readonly #maxTokens: number
  #nextId = 1

  constructor(scheduler: Scheduler, numSequences: number, maxTokens: number) {
    this.#scheduler = scheduler
    this.#numSequences = numSequences
    this.#maxTokens = maxTokens
  }

  fill(): void {
    while (this.submissions.size < this.#numSequences) {
      const id = this.#nextId++
      // Prompts differ in their first token, hence share no block.
      const promptTokenIds = new Int32Array(promptLen).fill(7)
      promptTokenIds[0] = id
      const stopTokenIds = new Int32Array([2])
      const maxTokens = this.#maxTokens
      const submission = makeSubmission({ id, promptTokenIds, maxTokens, stopTokenIds })
      this.submissions.set(id, submission)
      this.#scheduler.add({ ...submission, ignoreStopTokens: false })
    }
  }

  forget(plan: StepPlan): void {
    for (const { sequence, finishReason } of plan.outcomes) {
      if (finishReason !== null) this.submissions.delete(sequence.id)
    }
  }
}

interface Case {
  readonly numSequences: number
  readonly numBlocks: number
  readonly inFlight: 1 | 2
  /** Length of the answers: the contexts are half as long on average. */
  readonly maxTokens: number
}

/** Microseconds of schedule + pack + commit, sorted. */
function measure({ numSequences, numBlocks, inFlight, maxTokens }: Case): Float64Array {
  const scheduler = new Scheduler({
    blockSize,
    numBlocks,
    maxTokensPerStep,
    maxSequences: numSequences,
    maxContextLen,
    hashSeed: 0x1234_5678,
    maxStepsInFlight: inFlight,
  })
  const results = new Int32Array(numSequences).fill(1)
  const views = [makeViews(numSequences), makeViews(numSequences)] as const
  const load = new Load(scheduler, numSequences, maxTokens)
  const micros = new Float64Array(numMeasured)
  const plans: StepPlan[] = []
  for (let i = 0; i < numWarmUps + numMeasured; ) {
    load.fill()
    const start = process.hrtime.bigint()
    let newest: StepPlan | undefined
    while (plans.length < inFlight) {
      newest = scheduler.schedule()
      if (newest === undefined) break
      packStepBatch(views[newest.stepNumber % 2]!, newest, load.submissions, shape)
      plans.push(newest)
    }
    const oldest = plans.shift()!
    scheduler.commit(oldest, results)
    const elapsed = Number(process.hrtime.bigint() - start) / 1000
    load.forget(oldest)
    // Steps that admit or end sequences are not the steady state that is asked for.
    if (oldest.numDecodes !== numSequences || newest?.numDecodes !== numSequences) continue
    if (i >= numWarmUps) micros[i - numWarmUps] = elapsed
    i++
  }
  return micros.sort()
}

function print(measured: Case): void {
  const micros = measure(measured)
  const { numSequences, numBlocks, inFlight, maxTokens } = measured
  const median = micros[numMeasured / 2]!.toFixed(1)
  const p99 = micros[Math.floor(numMeasured * 0.99)]!.toFixed(1)
  const columns = [numSequences, numBlocks, inFlight, maxTokens, median, p99]
  console.log(columns.map((column) => String(column).padStart(10)).join(''))
}

console.log('schedule + pack + commit, all sequences decoding, blocks of 16 tokens')
console.log(' sequences    blocks in flight answer len median us    p99 us')
for (const numSequences of [64, 256]) {
  // Answers that fit into the smallest pool, so that only the pool differs.
  const maxTokens = Math.floor((1024 * blockSize) / numSequences) - promptLen - blockSize
  for (const numBlocks of [1024, 8192, 65_536]) {
    for (const inFlight of [1, 2] as const) print({ numSequences, numBlocks, inFlight, maxTokens })
  }
  // Long tables are packed whole, so long answers cost more.
  print({ numSequences, numBlocks: 65_536, inFlight: 2, maxTokens: 2048 })
}
