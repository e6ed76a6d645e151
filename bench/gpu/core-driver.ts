import { type StartedCore, startCore } from '../../engine/core/start-core.js'
import { frameHeaderBytes } from '../../engine/frame-layout.js'
import { decodeFromCore, stepFinish } from '../../engine/frames-from-core.js'
import type { StartSpec, Submission } from '../../engine/frames-to-core.js'
import { greedySubmission } from '../../engine/greedy-submission.js'
import { openWeights } from '../../engine/model/open-model.js'

export interface BenchJob {
  readonly promptTokenIds: Int32Array
  readonly maxTokens: number
  /** Greedy where it says nothing. */
  readonly sampling?: Partial<Submission['sampling']>
  readonly seed?: number
}

/** One job's tokens and when each came, in milliseconds of the process's clock. */
export interface JobResult {
  readonly tokenIds: number[]
  readonly arrivalsMs: number[]
}

/** What a bench or test may leave open. */
export type CoreSettings = { readonly modelPath: string } & Partial<Omit<StartSpec, 'modelPath'>>

/**
 * The core of the server, scheduler, step loop and step thread, in this process and without a front:
 * what stands between it and the clock is one decoded frame a step.
 */
export class CoreDriver {
  readonly #core: StartedCore
  readonly #live = new Map<number, JobResult>()
  #nextId = 1
  #onEmpty: () => void = () => {}
  #failure: Error | undefined

  private constructor(core: StartedCore) {
    this.#core = core
  }

  static async start(settings: CoreSettings): Promise<CoreDriver> {
    let driver: CoreDriver | undefined
    const { digest } = await openWeights(settings.modelPath)
    const spec: StartSpec = {
      digest,
      device: 'auto',
      dtype: 'auto',
      numerics: 'reference',
      isBatchInvariant: false,
      useGraphs: true,
      gpuMemoryFraction: 0.9,
      kvCacheType: 'float16',
      kvCacheBytes: null,
      numThreads: null,
      maxTokensPerStep: null,
      maxSequences: null,
      maxStepsInFlight: 2,
      maxStepMs: null,
      maxQueueMs: null,
      tenantCacheShare: 1,
      tracePath: null,
      ...settings,
    }
    const core = await startCore(spec, (frame) => driver?.receive(frame))
    driver = new CoreDriver(core)
    core.loop.run().catch((error: Error) => driver?.fail(error))
    return driver
  }

  get ready() {
    return this.#core.ready
  }

  /** Submits all jobs at once, deaf to end-of-sequence, and waits for the last token. */
  async run(jobs: readonly BenchJob[]): Promise<JobResult[]> {
    const results = jobs.map((job) => {
      const id = this.#nextId++
      const result: JobResult = { tokenIds: [], arrivalsMs: [] }
      this.#live.set(id, result)
      this.#core.loop.receive({ kind: 'submit', submission: toSubmission(id, job) })
      return result
    })
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve
    })
    if (this.#failure !== undefined) throw this.#failure
    return results
  }

  /** The ids of the answers alone. */
  async idsOf(jobs: readonly BenchJob[]): Promise<number[][]> {
    return (await this.run(jobs)).map(({ tokenIds }) => tokenIds)
  }

  get numPreemptions(): number {
    return this.#core.scheduler.stats.numPreemptions
  }

  close(): void {
    this.#core.model.close()
  }

  receive(frame: Buffer): void {
    const message = decodeFromCore(frame.readUInt8(4), frame.subarray(frameHeaderBytes))
    if (message.kind === 'refused') this.fail(new Error(message.message))
    if (message.kind !== 'step') return
    const nowMs = performance.now()
    const { ids, tokenIds, finishes } = message.step
    for (let i = 0; i < ids.length; i++) {
      const result = this.#live.get(ids[i]!)
      if (result === undefined) continue
      result.tokenIds.push(tokenIds[i]!)
      result.arrivalsMs.push(nowMs)
      if (finishes[i] !== stepFinish.none) this.#live.delete(ids[i]!)
    }
    if (this.#live.size === 0) this.#onEmpty()
  }

  fail(error: Error): void {
    this.#failure = error
    this.#onEmpty()
  }
}

function toSubmission(id: number, job: BenchJob): Submission {
  return greedySubmission(job.promptTokenIds, job.maxTokens, {
    id,
    ignoreEos: true,
    seedLow: job.seed ?? 0,
    ...(job.sampling && { sampling: job.sampling }),
  })
}
