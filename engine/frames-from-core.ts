import { FieldReader, FieldWriter, FrameError } from './frame-layout.js'

/** What the core tells the front. */
export type FromCore =
  | { readonly kind: 'loading'; readonly numBytesDone: number; readonly numBytes: number }
  | { readonly kind: 'ready'; readonly ready: CoreReady }
  | { readonly kind: 'step'; readonly step: StepResult }
  | { readonly kind: 'refused'; readonly id: number; readonly message: string }
  | { readonly kind: 'state'; readonly id: number; readonly state: CoreState }
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

/** What the core says of itself when it is asked; the numbers are the scheduler's. */
export interface CoreState {
  readonly numRunning: number
  readonly numWaiting: number
  readonly numWaitingTokens: number
  readonly numStepsInFlight: number
  readonly numBlocks: number
  readonly numFreeBlocks: number
  readonly numCachedBlocks: number
  readonly numUsedBlocks: number
  /** Totals since the core's start. */
  readonly numSteps: number
  readonly numPreemptions: number
  readonly numEvictions: number
  /** Prompt tokens that were found in the cache instead of being computed. */
  readonly numPrefixHitTokens: number
  readonly numQueueTimeouts: number
  readonly lastStep: LastStepState
  /** Those with sequences now; the first maxTenantsInState of numTenants. */
  readonly tenants: readonly TenantState[]
  readonly numTenants: number
}

/** What the step that ended last consisted of, and where its time went; zeros before the first. */
export interface LastStepState {
  readonly stepNumber: number
  readonly numDecodes: number
  readonly numPromptTokens: number
  readonly numAdmitted: number
  readonly numBlockCopies: number
  readonly planMs: number
  readonly packMs: number
  /** How long the device worked on it. */
  readonly durationMs: number
  readonly commitMs: number
}

export interface TenantState {
  /** 0, or a number made of a salt with a secret of the front. */
  readonly tenant: number
  readonly numWaiting: number
  readonly numRunning: number
  readonly numCachedBlocks: number
  readonly deficit: number
}

export const maxTenantsInState = 64

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

const stateNumbers = [
  'numRunning',
  'numWaiting',
  'numWaitingTokens',
  'numStepsInFlight',
  'numBlocks',
  'numFreeBlocks',
  'numCachedBlocks',
  'numUsedBlocks',
  'numSteps',
  'numPreemptions',
  'numEvictions',
  'numPrefixHitTokens',
  'numQueueTimeouts',
  'numTenants',
] as const satisfies readonly (keyof CoreState)[]

const lastStepNumbers = [
  'stepNumber',
  'numDecodes',
  'numPromptTokens',
  'numAdmitted',
  'numBlockCopies',
  'planMs',
  'packMs',
  'durationMs',
  'commitMs',
] as const satisfies readonly (keyof LastStepState)[]

const tenantNumbers = [
  'tenant',
  'numWaiting',
  'numRunning',
  'numCachedBlocks',
  'deficit',
] as const satisfies readonly (keyof TenantState)[]

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

/** Asked for by people, not by machines: JSON. */
export function encodeState(id: number, state: CoreState): Buffer {
  const json = Buffer.from(JSON.stringify(state))
  return new FieldWriter(frameType.state, 8 + json.length).f64(id).bytes(json).finish()
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
      return { kind: 'state', id: fields.integer(), state: decodeState(fields.text()) }
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
  const ready = parseJson('ready', json)
  const isNumber = (name: keyof CoreReady) => typeof ready[name] === 'number' && ready[name] >= 0
  const isValid =
    readyNumbers.every(isNumber) && readyTexts.every((name) => typeof ready[name] === 'string')
  if (!isValid) throw new FrameError('The ready frame lacks a field or has one of a wrong type.')
  return ready as unknown as CoreReady
}

function decodeState(json: string): CoreState {
  const state = parseJson('state', json)
  const { tenants } = state
  const isValid =
    hasNumbers(state, stateNumbers) &&
    hasNumbers(state.lastStep, lastStepNumbers) &&
    Array.isArray(tenants) &&
    tenants.length <= maxTenantsInState &&
    tenants.every((tenant) => hasNumbers(tenant, tenantNumbers))
  if (!isValid) throw new FrameError('The state frame lacks a field or has one of a wrong type.')
  return state as unknown as CoreState
}

function parseJson(name: string, json: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch (error) {
    throw new FrameError(`The ${name} frame is not JSON.`, { cause: error })
  }
  if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  throw new FrameError(`The ${name} frame is not an object.`)
}

function hasNumbers(value: unknown, names: readonly string[]): boolean {
  if (typeof value !== 'object' || value === null) return false
  const fields = value as Readonly<Record<string, unknown>>
  return names.every((name) => typeof fields[name] === 'number')
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
