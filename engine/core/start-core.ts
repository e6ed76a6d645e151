import { randomInt } from 'node:crypto'
import { Scheduler } from '../../scheduler/scheduler.js'
import { chooseDevice, chooseDtype, type Device } from '../device.js'
import { type CoreReady, encodeLoading } from '../frames-from-core.js'
import { maxStopTokens, type StartSpec } from '../frames-to-core.js'
import { greedySubmission } from '../greedy-submission.js'
import { type ModelWeights, openWeights } from '../model/open-model.js'
import { maxLogitBiases } from '../sampling-params.js'
import { type Addon, loadAddon, type NativeModel, type NativeModelSpec } from './addon.js'
import { readMemoryLimit } from './memory-limit.js'
import {
  blockSize,
  type KvCacheType,
  type MemoryPlan,
  planGpuMemory,
  planMemory,
} from './memory-plan.js'
import { packStepBatch } from './step-batch.js'
import { StepLoop } from './step-loop.js'
import { StepTrace } from './step-trace.js'

const numWarmUpSteps = 2

/** What suits a device where the operator gives no number. */
const defaults = {
  cpu: { maxTokensPerStep: 512, maxSequences: 64 },
  cuda: { maxTokensPerStep: 8192, maxSequences: 256 },
} as const

export interface StartedCore {
  readonly scheduler: Scheduler
  readonly model: NativeModel
  readonly loop: StepLoop
  readonly trace: StepTrace | undefined
  readonly ready: CoreReady
}

/**
 * From the start frame to a core that can take requests. Throws an Error whose message is for the
 * operator: a file that is broken or has changed, memory that does not suffice.
 */
export async function startCore(
  spec: StartSpec,
  send: (frame: Buffer) => void,
): Promise<StartedCore> {
  const description = await openWeights(spec.modelPath)
  if (description.digest !== spec.digest) {
    throw new Error(`${spec.modelPath} has changed since it was read a moment ago. Start again.`)
  }
  const { config } = description
  const addon = loadAddon()
  const setting = makeSetting(addon, description, spec)
  const { plan, nativeSpec, memoryLimitBytes } = setting
  const { numThreads, maxTokensPerStep, maxSequences } = nativeSpec
  const model = await loadModel(addon, nativeSpec, send)
  const warmUpMs = await warmUp(model, plan.maxBlocksPerSequence, config.vocabSize)

  const { maxContextLen, maxBlocksPerSequence, numBlocks } = plan
  // The seed only has to be unknown to clients: it keeps them from aiming at one hash bucket.
  const hashSeed = randomInt(2 ** 47)
  const scheduler = new Scheduler({
    blockSize,
    numBlocks,
    maxTokensPerStep,
    maxSequences,
    maxContextLen,
    hashSeed,
    maxStepsInFlight: spec.maxStepsInFlight,
    ...(spec.maxStepMs !== null && { maxStepMs: spec.maxStepMs }),
    ...(spec.maxQueueMs !== null && { maxQueueMs: spec.maxQueueMs }),
    cacheShareBlocks: Math.max(1, Math.floor(numBlocks * spec.tenantCacheShare)),
  })
  const trace = spec.tracePath === null ? undefined : StepTrace.open(spec.tracePath)
  const loop = new StepLoop({
    model,
    scheduler,
    shape: { blockSize, maxBlocksPerSequence },
    limits: { vocabSize: config.vocabSize, maxContextLen, maxSequences },
    numStepsBefore: numWarmUpSteps,
    send,
    trace,
  })
  const { weights, kvCache, workspace, sampler } = model.memory
  const ready = {
    weightsBytes: weights,
    kvCacheBytes: kvCache,
    workspaceBytes: workspace,
    samplerBytes: sampler,
    memoryLimitBytes,
    numBlocks,
    blockSize,
    maxContextLen,
    numThreads,
    maxSequences,
    maxTokensPerStep,
    warmUpMs,
    digest: description.digest,
    device: setting.device.kind,
    cacheType: setting.cacheType,
    kernels: setting.device.kind === 'cpu' ? addon.cpuFeatures().kernels : setting.device.gpu.name,
  }
  return { model, scheduler, loop, trace, ready }
}

interface Setting {
  readonly device: Device
  readonly cacheType: KvCacheType
  readonly memoryLimitBytes: number
  readonly plan: MemoryPlan
  readonly nativeSpec: NativeModelSpec
}

/** Fills in what the operator left open, for the device that is there. */
function makeSetting(addon: Addon, description: ModelWeights, spec: StartSpec): Setting {
  const { config, files, tensors } = description
  const { kvCacheBytes } = spec
  const device = chooseDevice(spec.device, addon.cudaStatus())
  const isOnGpu = device.kind === 'cuda'
  const dtype = chooseDtype(spec.dtype, tensors)
  const cacheType = isOnGpu ? dtype : spec.kvCacheType
  const maxSequences = spec.maxSequences ?? defaults[device.kind].maxSequences
  const draft = {
    device: device.kind,
    dtype,
    numerics: spec.numerics,
    isBatchInvariant: spec.isBatchInvariant,
    useGraphs: spec.useGraphs,
    config,
    files,
    tensors,
    numThreads: spec.numThreads ?? addon.defaultNumThreads(),
    numBlocks: 1,
    blockSize,
    kvCacheType: spec.kvCacheType,
    maxTokensPerStep: spec.maxTokensPerStep ?? defaults[device.kind].maxTokensPerStep,
    maxSequences,
    maxBlocksPerSequence: Math.ceil(config.maxContextLen / blockSize),
    // Room for the worst step, so that no step has to be refused for its adjustments.
    maxAdjustments: maxSequences * (maxLogitBiases + maxStopTokens),
  }
  if (device.kind === 'cpu') {
    const memoryLimitBytes = readMemoryLimit()
    const plan = planMemory({ config, kvCacheType: cacheType, kvCacheBytes, memoryLimitBytes })
    return { device, cacheType, memoryLimitBytes, plan, nativeSpec: { ...draft, ...sizes(plan) } }
  }
  const { totalBytes, freeBytes } = device.gpu
  const fraction = spec.gpuMemoryFraction
  const needs = addon.memoryNeeds(draft)
  const request = { config, kvCacheType: cacheType, kvCacheBytes, totalBytes, freeBytes }
  const plan = planGpuMemory({ ...request, fraction, needs })
  const memoryLimitBytes = Math.floor(totalBytes * fraction)
  return { device, cacheType, memoryLimitBytes, plan, nativeSpec: { ...draft, ...sizes(plan) } }
}

function sizes({ numBlocks, maxBlocksPerSequence }: MemoryPlan) {
  return { numBlocks, maxBlocksPerSequence }
}

function loadModel(
  addon: Addon,
  spec: NativeModelSpec,
  send: (frame: Buffer) => void,
): Promise<NativeModel> {
  const numBytes = spec.tensors.reduce((sum, tensor) => sum + tensor.byteLength, 0)
  return addon.loadModel(spec, (numBytesDone) => send(encodeLoading(numBytesDone, numBytes)))
}

/**
 * A few greedy steps of one token, before any request: weights that give no finite logits are found
 * now, their pages are warm, and the front learns how long a step takes. They write to block 0,
 * which holds nothing yet. Returns the milliseconds of the fastest: the first one meets cold memory.
 */
async function warmUp(
  model: NativeModel,
  maxBlocksPerSequence: number,
  vocabSize: number,
): Promise<number> {
  const tokenIds = Int32Array.of(0)
  const sequence = {
    id: 0,
    choice: 0,
    tokenIds,
    numPromptTokens: 1,
    blockTable: Int32Array.of(0),
    numBlocks: 1,
    samplerSlot: 0,
  }
  const row = { sequence, start: 0, numTokens: 1, samples: true, sourceRow: -1 }
  const step = { rows: [row], blockCopies: new Int32Array(0), numBlockCopies: 0 }
  const submissions = new Map([[0, greedySubmission(tokenIds, 1)]])
  let fastestMs = Number.POSITIVE_INFINITY
  for (let i = 0; i < numWarmUpSteps; i++) {
    const views = model.stepBatches[i % 2]!
    model.fillSamplerSlot(0, tokenIds, 1)
    packStepBatch(views, step, submissions, { blockSize, maxBlocksPerSequence })
    const startMs = performance.now()
    await model.step(1, 1, 1)
    fastestMs = Math.min(fastestMs, performance.now() - startMs)
    checkWarmUpToken(views.sampledTokenIds[0]!, vocabSize)
  }
  return fastestMs
}

function checkWarmUpToken(tokenId: number, vocabSize: number): void {
  if (tokenId >= 0 && tokenId < vocabSize) return
  throw new Error(
    'The model gives no usable numbers for a single token: its weights are damaged, or they ' +
      'belong to another config.',
  )
}
