import fc from 'fast-check'
import t from 'tap'
import { FrameError, frameHeaderBytes } from '../../engine/frame-layout.js'
import {
  type CoreReady,
  type CoreState,
  decodeFromCore,
  encodeFatal,
  encodeHeartbeat,
  encodeLoading,
  encodeReady,
  encodeRefused,
  encodeState,
  encodeStep,
  maxTenantsInState,
  stepFinish,
} from '../../engine/frames-from-core.js'
import { idleState } from './support/core-states.js'

const ready: CoreReady = {
  weightsBytes: 98_000_000,
  kvCacheBytes: 2 ** 31,
  workspaceBytes: 1,
  samplerBytes: 2,
  memoryLimitBytes: 2 ** 40,
  numBlocks: 512,
  blockSize: 16,
  maxContextLen: 8192,
  numThreads: 2,
  maxSequences: 64,
  maxTokensPerStep: 512,
  warmUpMs: 7.25,
  digest: '0123456789abcdef'.repeat(4),
  device: 'cpu',
  cacheType: 'float16',
  kernels: 'avx2',
}
const state: CoreState = {
  ...idleState,
  numRunning: 1,
  lastStep: { ...idleState.lastStep, stepNumber: 7, durationMs: 1.25 },
  tenants: [{ tenant: 2 ** 52, numWaiting: 1, numRunning: 2, numCachedBlocks: 3, deficit: -4.5 }],
  numTenants: 1,
}

t.test('every message comes back as it went in', (t) => {
  t.strictSame(decode(encodeLoading(5, 10)), { kind: 'loading', numBytesDone: 5, numBytes: 10 })
  t.strictSame(decode(encodeReady(ready)), { kind: 'ready', ready })
  t.strictSame(decode(encodeRefused(9, 'größer')), { kind: 'refused', id: 9, message: 'größer' })
  t.strictSame(decode(encodeState(9, state)), { kind: 'state', id: 9, state })
  const heartbeat = { numSteps: 1, numTokensInStep: 512 }
  t.strictSame(decode(encodeHeartbeat(heartbeat)), { kind: 'heartbeat', heartbeat })
  t.strictSame(decode(encodeFatal('')), { kind: 'fatal', message: '' })
  t.end()
})

t.test('a step keeps its columns together and only its first entries', (t) => {
  const entry = fc.record(
    {
      id: fc.maxSafeNat(),
      tokenId: fc.integer(),
      finish: fc.nat(stepFinish.queue_timeout),
      numCached: fc.nat({ max: 2 ** 31 - 1 }),
    },
    { noNullPrototype: true },
  )
  fc.assert(
    fc.property(fc.array(entry), fc.nat(3), (entries, numSpare) => {
      const step = {
        stepNumber: 12,
        durationMs: 0.5,
        ids: new Float64Array(entries.length + numSpare),
        tokenIds: new Int32Array(entries.length + numSpare),
        finishes: new Uint8Array(entries.length + numSpare),
        numCachedTokens: new Int32Array(entries.length + numSpare),
      }
      for (const [i, { id, tokenId, finish, numCached }] of entries.entries()) {
        step.ids[i] = id
        step.tokenIds[i] = tokenId
        step.finishes[i] = finish
        step.numCachedTokens[i] = numCached
      }
      const received = decode(encodeStep(step, entries.length))
      t.equal(received.kind, 'step')
      if (received.kind !== 'step') return
      t.equal(received.step.stepNumber, 12)
      t.equal(received.step.durationMs, 0.5)
      t.strictSame(
        Array.from(received.step.ids, (id, i) => ({
          id,
          tokenId: received.step.tokenIds[i],
          finish: received.step.finishes[i],
          numCached: received.step.numCachedTokens[i],
        })),
        entries,
      )
    }),
    { numRuns: 50 },
  )
  t.end()
})

t.test('a frame cut at any byte, or with one too many, is refused', (t) => {
  const step = {
    stepNumber: 1,
    durationMs: 1,
    ids: Float64Array.of(1, 2),
    tokenIds: Int32Array.of(3, 4),
    finishes: Uint8Array.of(0, 3),
    numCachedTokens: Int32Array.of(0, 16),
  }
  const frames = [
    encodeLoading(1, 2),
    encodeStep(step, 2),
    encodeState(1, state),
    encodeHeartbeat({ numSteps: 1, numTokensInStep: 2 }),
  ]
  for (const frame of frames) {
    for (let end = frameHeaderBytes; end < frame.length; end++) {
      t.throws(() => decode(frame.subarray(0, end)), FrameError)
    }
    t.throws(() => decode(Buffer.concat([frame, Buffer.of(0)])), FrameError)
  }
  const frame = encodeReady(ready)
  for (let end = frameHeaderBytes; end < frame.length; end++) {
    t.throws(() => decode(frame.subarray(0, end)), FrameError)
  }
  for (const change of [{ numBlocks: -1 }, { digest: 7 }, { device: undefined }]) {
    const broken = { ...ready, ...change } as unknown as CoreReady
    t.throws(() => decode(encodeReady(broken)), FrameError, JSON.stringify(change))
  }
  const tenants = Array(maxTenantsInState + 1).fill(state.tenants[0])
  const changes = [
    { numRunning: '1' },
    { lastStep: null },
    { tenants },
    { tenants: [{}] },
    { tenants: 5 },
  ]
  for (const change of changes) {
    const broken = { ...state, ...change } as unknown as CoreState
    t.throws(() => decode(encodeState(1, broken)), FrameError)
  }
  for (const broken of [null, 5]) {
    t.throws(() => decode(encodeState(1, broken as unknown as CoreState)), FrameError)
  }
  t.end()
})

t.test('ids, reasons and durations that cannot be are refused', (t) => {
  const step = (change: object) => ({
    stepNumber: 1,
    durationMs: 1,
    ids: Float64Array.of(1),
    tokenIds: Int32Array.of(3),
    finishes: Uint8Array.of(0),
    numCachedTokens: Int32Array.of(0),
    ...change,
  })
  const changes = [
    { ids: Float64Array.of(1.5) },
    { finishes: Uint8Array.of(5) },
    { durationMs: Number.NaN },
    { durationMs: -1 },
    { stepNumber: -1 },
  ]
  for (const change of changes) {
    t.throws(() => decode(encodeStep(step(change), 1)), FrameError)
  }
  t.end()
})

t.test('garbage is a FrameError, never another error', (t) => {
  const type = fc.oneof(fc.nat(255), fc.integer({ min: 129, max: 135 }))
  fc.assert(
    fc.property(type, fc.uint8Array({ maxLength: 200 }), (type, bytes) => {
      try {
        decodeFromCore(type, Buffer.from(bytes))
      } catch (error) {
        return error instanceof FrameError
      }
      return true
    }),
    { numRuns: 3000 },
  )
  t.end()
})

function decode(frame: Buffer) {
  return decodeFromCore(frame.readUInt8(4), frame.subarray(frameHeaderBytes))
}
