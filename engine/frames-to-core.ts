import { FieldReader, FieldWriter, FrameError } from './frame-layout.js'
import { maxLogitBiases, type SamplingParams } from './sampling-params.js'

/** What the front tells the core. */
export type ToCore =
  | { readonly kind: 'start'; readonly spec: StartSpec }
  | { readonly kind: 'submit'; readonly submission: Submission }
  | { readonly kind: 'abort'; readonly id: number }
  | { readonly kind: 'inspect'; readonly id: number }

export const deviceRequests = ['auto', 'cpu', 'cuda'] as const
export type DeviceRequest = (typeof deviceRequests)[number]
export const dtypeRequests = ['auto', 'float32', 'bfloat16', 'float16'] as const
export type DtypeRequest = (typeof dtypeRequests)[number]

/** Sent once, first. `null` leaves the choice to the core. */
export interface StartSpec {
  readonly modelPath: string
  /** What the front read; the core refuses files that have changed since. */
  readonly digest: string
  readonly device: DeviceRequest
  readonly dtype: DtypeRequest
  readonly numerics: 'reference' | 'fast'
  readonly isBatchInvariant: boolean
  readonly useGraphs: boolean
  /** Above 0 and at most 1. */
  readonly gpuMemoryFraction: number
  readonly kvCacheType: 'float16' | 'float32'
  readonly kvCacheBytes: number | null
  readonly numThreads: number | null
  readonly maxTokensPerStep: number | null
  readonly maxSequences: number | null
  /** 2 plans a step while the one before runs; 1 is the plain loop. */
  readonly maxStepsInFlight: 1 | 2
  /** Milliseconds a step with decodes may take; prompts get what fits beside them. */
  readonly maxStepMs: number | null
  /** Milliseconds a request may wait before it begins. */
  readonly maxQueueMs: number | null
  /** Share of the KV blocks that one tenant's unused prefixes may keep from others. */
  readonly tenantCacheShare: number
  /** A file for the trace of every step. */
  readonly tracePath: string | null
}

/** One request to generate, with every default filled in. */
export interface Submission {
  /**
   * Ours, never the client's: a counter from 1, below 2^53. Its choices are sequences of their own,
   * id to id + numChoices - 1.
   */
  readonly id: number
  readonly numChoices: number
  readonly tenant: number
  /** Lower goes first; within the scheduler's minPriority and maxPriority. */
  readonly priority: number
  readonly sampling: Omit<SamplingParams, 'logitBias' | 'seed'>
  /** The two halves of the seed, so that no step handles a bigint. */
  readonly seedLow: number
  readonly seedHigh: number
  readonly maxTokens: number
  readonly minTokens: number
  readonly ignoreEos: boolean
  readonly promptTokenIds: Int32Array
  readonly stopTokenIds: Int32Array
  /** Same length as biasValues. */
  readonly biasTokenIds: Int32Array
  readonly biasValues: Float32Array
}

/** Far more end-of-sequence tokens than any model names. */
export const maxStopTokens = 64

const frameType = { start: 1, submit: 2, abort: 3, inspect: 4 } as const
const fixedSubmitBytes = 8 * 4 + 4 * 2 + 8 * 7 + 4 * 2 + 1 + 4 * 3

export function encodeStart(spec: StartSpec): Buffer {
  const json = Buffer.from(JSON.stringify(spec))
  return new FieldWriter(frameType.start, json.length).bytes(json).finish()
}

export function encodeSubmit(submission: Submission): Buffer {
  const { sampling, promptTokenIds, stopTokenIds, biasTokenIds, biasValues } = submission
  const arraysBytes =
    promptTokenIds.byteLength +
    stopTokenIds.byteLength +
    biasTokenIds.byteLength +
    biasValues.byteLength
  return new FieldWriter(frameType.submit, fixedSubmitBytes + arraysBytes)
    .f64(submission.id)
    .f64(submission.numChoices)
    .f64(submission.tenant)
    .f64(submission.priority)
    .u32(submission.seedLow)
    .u32(submission.seedHigh)
    .f64(sampling.temperature)
    .f64(sampling.topP)
    .f64(sampling.topK)
    .f64(sampling.minP)
    .f64(sampling.repetitionPenalty)
    .f64(sampling.frequencyPenalty)
    .f64(sampling.presencePenalty)
    .u32(submission.maxTokens)
    .u32(submission.minTokens)
    .u8(submission.ignoreEos ? 1 : 0)
    .u32(promptTokenIds.length)
    .u32(stopTokenIds.length)
    .u32(biasTokenIds.length)
    .bytes(promptTokenIds)
    .bytes(stopTokenIds)
    .bytes(biasTokenIds)
    .bytes(biasValues)
    .finish()
}

export function encodeAbort(id: number): Buffer {
  return new FieldWriter(frameType.abort, 8).f64(id).finish()
}

export function encodeInspect(id: number): Buffer {
  return new FieldWriter(frameType.inspect, 8).f64(id).finish()
}

/** Throws FrameError unless the payload is exactly one message of that type. */
export function decodeToCore(type: number, payload: Buffer): ToCore {
  const fields = new FieldReader(payload)
  switch (type) {
    case frameType.start:
      return { kind: 'start', spec: decodeStart(fields.text()) }
    case frameType.submit:
      return { kind: 'submit', submission: decodeSubmit(fields) }
    case frameType.abort:
      return { kind: 'abort', id: decodeId(fields) }
    case frameType.inspect:
      return { kind: 'inspect', id: decodeId(fields) }
    default:
      throw new FrameError(`No frame to the core has type ${type}.`)
  }
}

function decodeId(fields: FieldReader): number {
  const id = fields.integer()
  fields.end()
  return id
}

function decodeSubmit(fields: FieldReader): Submission {
  const id = fields.integer()
  const numChoices = fields.integer()
  const tenant = fields.integer()
  const priority = fields.f64()
  const seed = { seedLow: fields.u32(), seedHigh: fields.u32() }
  const sampling = {
    temperature: fields.f64(),
    topP: fields.f64(),
    topK: fields.f64(),
    minP: fields.f64(),
    repetitionPenalty: fields.f64(),
    frequencyPenalty: fields.f64(),
    presencePenalty: fields.f64(),
  }
  const limits = { maxTokens: fields.u32(), minTokens: fields.u32(), ignoreEos: fields.flag() }
  const numPromptTokens = fields.u32()
  const numStopTokens = fields.u32()
  const numBiases = fields.u32()
  if (numStopTokens > maxStopTokens || numBiases > maxLogitBiases) {
    throw new FrameError(`A submission has ${numStopTokens} stop tokens and ${numBiases} biases.`)
  }
  const submission = {
    id,
    numChoices,
    tenant,
    priority,
    sampling,
    ...seed,
    ...limits,
    promptTokenIds: fields.int32s(numPromptTokens),
    stopTokenIds: fields.int32s(numStopTokens),
    biasTokenIds: fields.int32s(numBiases),
    biasValues: fields.float32s(numBiases),
  }
  fields.end()
  return submission
}

function decodeStart(json: string): StartSpec {
  let spec: Partial<Record<keyof StartSpec, unknown>> | null
  try {
    spec = JSON.parse(json) as typeof spec
  } catch (error) {
    throw new FrameError('The start frame is not JSON.', { cause: error })
  }
  if (typeof spec !== 'object' || spec === null) {
    throw new FrameError('The start frame is not an object.')
  }
  const isNumberOrNull = (value: unknown) => value === null || isCount(value)
  const isValid =
    typeof spec.modelPath === 'string' &&
    typeof spec.digest === 'string' &&
    isOneOf(deviceRequests, spec.device) &&
    isOneOf(dtypeRequests, spec.dtype) &&
    isOneOf(['reference', 'fast'], spec.numerics) &&
    typeof spec.isBatchInvariant === 'boolean' &&
    typeof spec.useGraphs === 'boolean' &&
    isFraction(spec.gpuMemoryFraction) &&
    (spec.kvCacheType === 'float16' || spec.kvCacheType === 'float32') &&
    isNumberOrNull(spec.kvCacheBytes) &&
    isNumberOrNull(spec.numThreads) &&
    isNumberOrNull(spec.maxTokensPerStep) &&
    isNumberOrNull(spec.maxSequences) &&
    (spec.maxStepsInFlight === 1 || spec.maxStepsInFlight === 2) &&
    isNumberOrNull(spec.maxStepMs) &&
    isNumberOrNull(spec.maxQueueMs) &&
    isFraction(spec.tenantCacheShare) &&
    (spec.tracePath === null || typeof spec.tracePath === 'string')
  if (!isValid) throw new FrameError('The start frame lacks a field or has one of a wrong type.')
  return spec as StartSpec
}

function isOneOf(choices: readonly string[], value: unknown): boolean {
  return typeof value === 'string' && choices.includes(value)
}

function isFraction(value: unknown): boolean {
  return typeof value === 'number' && value > 0 && value <= 1
}

function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0
}
