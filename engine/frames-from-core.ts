import { FieldReader, FieldWriter, FrameError } from './frame-layout.js'

/** What the core tells the front. */
export type FromCore =
  | { readonly kind: 'loading'; readonly numBytesDone: number; readonly numBytes: number }
  | { readonly kind: 'ready'; readonly ready: CoreReady }
  | { readonly kind: 'step'; readonly step: StepResult }
  | { readonly kind: 'refused'; readonly id: number; readonly message: string }
  | { readonly kind: 'state'; readonly id: number; readonly counts: CoreCounts }
  | { readonly kind: 'heartbeat'; readonly heartbeat: Heartbeat }
  | { readonly kind: 'fatal'; readonly message: string }

/** The handshake: what the core made of the start frame. Bytes unless the name says otherwise. */
export interface CoreReady {
  readonly weightsBytes: number
  readonly kvCacheBytes: number
  readonly workspaceBytes: number
  readonly samplerBytes: number
  /** What the control group (or the machine) allows. */
  readonly memoryLimitBytes: number
  readonly numBlocks: number
  readonly blockSize: number
  /** The model's, or less where the pool holds less. */
  readonly maxContextLen: number
  readonly numThreads: number
  /** Sequences in one step, as asked for or chosen for the device. */
  readonly maxSequences: number
  readonly maxTokensPerStep: number
  /** One step of one token, measured before the first request. */
  readonly warmUpMs: number
  /** 64 hex digits: the core read the same headers as the front. */
  readonly digest: string
  readonly device: 'cpu' | 'cuda'
  /** Of a value in the KV cache: 'float16'. */
  readonly cacheType: string
  /** Which kernels run and on what: 'avx2', or the name of a GPU. */
  readonly kernels: string
}

/** What one step brought, in columns: entry i is one token of one sequence. */
export interface StepResult {
  /** Counts from 1. */
  readonly stepNumber: number
  readonly durationMs: number
  readonly ids: Float64Array
  /** -1 when the sequence failed. */
  readonly tokenIds: Int32Array
  readonly finishes: Uint8Array
  /** Prompt tokens found in the prefix cache; the same in every entry of a sequence. */
  readonly numCachedTokens: Int32Array
}

/** Values of StepResult.finishes. */
export const stepFinish = { none: 0, stop: 1, length: 2, failed: 3, queue_timeout: 4 } as const

export interface CoreCounts {
  readonly numRunning: number
  readonly numWaiting: number
  readonly numBlocks: number
  readonly numFreeBlocks: number
  readonly numCachedBlocks: number
  readonly numUsedBlocks: number
  readonly numSteps: number
  readonly numPreemptions: number
}

/** Sent twice a second while there is work, so that a long step differs from a dead core. */
export interface Heartbeat {
  /** Steps finished. */
  readonly numSteps: number
  /** Tokens of the step that is running; 0 when none is. */
  readonly numTokensInStep: number
}

const frameType = {
  loading: 129,
  ready: 130,
  step: 131,
  refused: 132,
  state: 133,
  heartbeat: 134,
  fatal: 135,
} as const

const stepEntryBytes = 8 + 4 + 4 + 1
const maxMessageLen = 8192

const readyNumbers = [
  'weightsBytes',
  'kvCacheBytes',
  'workspaceBytes',
  'samplerBytes',
  'memoryLimitBytes',
  'numBlocks',
  'blockSize',
  'maxContextLen',
  'numThreads',
  'maxSequences',
  'maxTokensPerStep',
  'warmUpMs',
] as const satisfies readonly (keyof CoreReady)[]

const readyTexts = [
  'digest',
  'device',
  'cacheType',
  'kernels',
] as const satisfies readonly (keyof CoreReady)[]

const countNames = [
  'numRunning',
  'numWaiting',
  'numBlocks',
  'numFreeBlocks',
  'numCachedBlocks',
  'numUsedBlocks',
  'numSteps',
  'numPreemptions',
] as const satisfies readonly (keyof CoreCounts)[]

export function encodeLoading(numBytesDone: number, numBytes: number): Buffer {
  return new FieldWriter(frameType.loading, 16).f64(numBytesDone).f64(numBytes).finish()
}

export function encodeReady(ready: CoreReady): Buffer {
  const json = Buffer.from(JSON.stringify(ready))
  return new FieldWriter(frameType.ready, json.length).bytes(json).finish()
}

/** The arrays may be longer than `numEntries`: the step loop reuses them. */
export function encodeStep(step: StepResult, numEntries: number): Buffer {
  return new FieldWriter(frameType.step, 8 + 8 + 4 + numEntries * stepEntryBytes)
    .f64(step.stepNumber)
    .f64(step.durationMs)
    .u32(numEntries)
    .bytes(step.ids.subarray(0, numEntries))
    .bytes(step.tokenIds.subarray(0, numEntries))
    .bytes(step.numCachedTokens.subarray(0, numEntries))
    .bytes(step.finishes.subarray(0, numEntries))
    .finish()
}

export function encodeRefused(id: number, message: string): Buffer {
  const text = Buffer.from(message.slice(0, maxMessageLen))
  return new FieldWriter(frameType.refused, 8 + text.length).f64(id).bytes(text).finish()
}

export function encodeState(id: number, counts: CoreCounts): Buffer {
  const writer = new FieldWriter(frameType.state, 8 + countNames.length * 8).f64(id)
  for (const name of countNames) writer.f64(counts[name])
  return writer.finish()
}

export function encodeHeartbeat(heartbeat: Heartbeat): Buffer {
  return new FieldWriter(frameType.heartbeat, 16)
    .f64(heartbeat.numSteps)
    .f64(heartbeat.numTokensInStep)
    .finish()
}

export function encodeFatal(message: string): Buffer {
  const text = Buffer.from(message.slice(0, maxMessageLen))
  return new FieldWriter(frameType.fatal, text.length).bytes(text).finish()
}

/** Throws FrameError unless the payload is exactly one message of that type. */
export function decodeFromCore(type: number, payload: Buffer): FromCore {
  const fields = new FieldReader(payload)
  const message = decodeFields(type, fields)
  fields.end()
  return message
}

function decodeFields(type: number, fields: FieldReader): FromCore {
  switch (type) {
    case frameType.loading:
      return { kind: 'loading', numBytesDone: fields.integer(), numBytes: fields.integer() }
    case frameType.ready:
      return { kind: 'ready', ready: decodeReady(fields.text()) }
    case frameType.step:
      return { kind: 'step', step: decodeStep(fields) }
    case frameType.refused:
      return { kind: 'refused', id: fields.integer(), message: fields.text() }
    case frameType.state:
      return { kind: 'state', id: fields.integer(), counts: decodeIntegers(countNames, fields) }
    case frameType.heartbeat:
      return {
        kind: 'heartbeat',
        heartbeat: { numSteps: fields.integer(), numTokensInStep: fields.integer() },
      }
    case frameType.fatal:
      return { kind: 'fatal', message: fields.text() }
    default:
      throw new FrameError(`No frame from the core has type ${type}.`)
  }
}

/** Sent once, so it is JSON; every field is checked all the same. */
function decodeReady(json: string): CoreReady {
  let ready: Partial<Record<keyof CoreReady, unknown>> | null
  try {
    ready = JSON.parse(json) as typeof ready
  } catch (error) {
    throw new FrameError('The ready frame is not JSON.', { cause: error })
  }
  const isNumber = (value: unknown) => typeof value === 'number' && value >= 0
  const isValid =
    typeof ready === 'object' &&
    ready !== null &&
    readyNumbers.every((name) => isNumber(ready[name])) &&
    readyTexts.every((name) => typeof ready[name] === 'string')
  if (!isValid) throw new FrameError('The ready frame lacks a field or has one of a wrong type.')
  return ready as CoreReady
}

function decodeStep(fields: FieldReader): StepResult {
  const stepNumber = fields.integer()
  const durationMs = decodeDuration(fields)
  const numEntries = fields.u32()
  const ids = fields.float64s(numEntries)
  const tokenIds = fields.int32s(numEntries)
  const numCachedTokens = fields.int32s(numEntries)
  const finishes = fields.uint8s(numEntries)
  if (!ids.every(Number.isSafeInteger)) throw new FrameError('A step names an id that is none.')
  if (!finishes.every((finish) => finish <= stepFinish.queue_timeout)) {
    throw new FrameError('A step gives a reason to finish that is none.')
  }
  return { stepNumber, durationMs, ids, tokenIds, finishes, numCachedTokens }
}

function decodeDuration(fields: FieldReader): number {
  const duration = fields.f64()
  if (!(duration >= 0 && Number.isFinite(duration))) {
    throw new FrameError(`${duration} is not a duration.`)
  }
  return duration
}

function decodeIntegers<Name extends string>(
  names: readonly Name[],
  fields: FieldReader,
): Record<Name, number> {
  const numbers = {} as Record<Name, number>
  for (const name of names) numbers[name] = fields.integer()
  return numbers
}
