import { loadAddon, type NativeModel } from '../../engine/core/addon.js'
import { packStepBatch } from '../../engine/core/step-batch.js'
import type { Submission } from '../../engine/frames-to-core.js'
import { greedySubmission } from '../../engine/greedy-submission.js'
import type { ModelDescription } from '../../engine/model/model-description.js'
import type { SchedulerLimits } from '../../scheduler/limits.js'
import { Scheduler } from '../../scheduler/scheduler.js'
import { cpuNative } from './device-defaults.js'

/** What a test asks for; sampling is greedy unless it says otherwise. */
export interface Job {
  readonly promptTokenIds: readonly number[]
  readonly maxTokens: number
  readonly tenant?: number
  readonly sampling?: Partial<Submission['sampling']>
  readonly seed?: number
  readonly stopTokenIds?: readonly number[]
}

export interface Answer {
  readonly ids: number[]
  readonly numCachedTokens: number
}

const blockSize = 16
const maxSequences = 32
const maxBlocks = 600

/** Scheduler and addon without processes and text: what the model computes, and nothing else. */
export class InProcessCore {
  readonly #model: NativeModel
  readonly #maxContextLen: number
  #numModelSteps = 0
  #nextId = 1

  private constructor(model: NativeModel, maxContextLen: number) {
    this.#model = model
    this.#maxContextLen = maxContextLen
  }

  static async load(
    weights: Pick<ModelDescription, 'config' | 'files' | 'tensors'>,
    kvCacheType: 'float16' | 'float32' = 'float32',
  ): Promise<InProcessCore> {
    const maxContextLen = Math.min(weights.config.maxContextLen, 2048)
    const model = await loadAddon().loadModel(
      {
        ...cpuNative,
        config: weights.config,
        files: weights.files,
        tensors: weights.tensors,
        numThreads: 2,
        numBlocks: maxBlocks,
        blockSize,
        kvCacheType,
        maxTokensPerStep: 512,
        maxSequences,
        maxBlocksPerSequence: Math.ceil(maxContextLen / blockSize),
        maxAdjustments: 4096,
      },
      () => {},
    )
    return new InProcessCore(model, maxContextLen)
  }

  /** A pool of its own, empty: nothing is shared between schedulers. */
  makeScheduler(limits: Partial<SchedulerLimits> = {}): Scheduler {
    return new Scheduler({
      blockSize,
      numBlocks: maxBlocks,
      maxTokensPerStep: 512,
      maxSequences,
      maxContextLen: this.#maxContextLen,
      hashSeed: 7,
      ...limits,
    })
  }

  /** Runs jobs together until all have ended; checks the books after every step. */
  async run(jobs: readonly Job[], scheduler = this.makeScheduler()): Promise<Answer[]> {
    const submissions = new Map<number, Submission>()
    const sequences = jobs.map((job) => {
      const submission = toSubmission(this.#nextId++, job)
      submissions.set(submission.id, submission)
      return scheduler.add({ ...submission, ignoreStopTokens: submission.ignoreEos })
    })
    for (let plan = scheduler.schedule(); plan !== undefined; plan = scheduler.schedule()) {
      for (const { samplerSlot, tokenIds, numTokens, numPromptTokens } of plan.admitted) {
        this.#model.fillSamplerSlot(samplerSlot, tokenIds.subarray(0, numTokens), numPromptTokens)
      }
      const views = this.#model.stepBatches[this.#numModelSteps % 2]!
      const maxBlocksPerSequence = Math.ceil(this.#maxContextLen / blockSize)
      packStepBatch(views, plan, submissions, { blockSize, maxBlocksPerSequence })
      await this.#model.step(plan.rows.length, plan.numTokens, plan.numDecodes)
      this.#numModelSteps += 1
      scheduler.commit(plan, views.sampledTokenIds)
      scheduler.checkIntegrity()
    }
    return sequences.map((sequence) => ({
      ids: [...sequence.tokenIds.subarray(sequence.numPromptTokens, sequence.numTokens)],
      numCachedTokens: sequence.numCachedTokens,
    }))
  }

  close(): void {
    this.#model.close()
  }
}

function toSubmission(id: number, job: Job): Submission {
  return greedySubmission(Int32Array.from(job.promptTokenIds), job.maxTokens, {
    id,
    tenant: job.tenant ?? 0,
    stopTokenIds: Int32Array.from(job.stopTokenIds ?? []),
    ignoreEos: job.stopTokenIds === undefined,
    seedLow: job.seed ?? 0,
    ...(job.sampling && { sampling: job.sampling }),
  })
}
