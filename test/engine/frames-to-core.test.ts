import fc from 'fast-check'
import t from 'tap'
import { FrameError, frameHeaderBytes } from '../../engine/frame-layout.js'
import {
  decodeToCore,
  encodeAbort,
  encodeInspect,
  encodeStart,
  encodeSubmit,
  type StartSpec,
  type Submission,
} from '../../engine/frames-to-core.js'
import { cpuStart } from '../support/device-defaults.js'

const id = fc.maxSafeNat()
const ids32 = fc.array(fc.integer()).map((ids) => Int32Array.from(ids))
const number = fc.double({ noNaN: true })
const submission: fc.Arbitrary<Submission> = fc
  .record(
    {
      id,
      numChoices: fc.nat(128),
      tenant: id,
      priority: fc.integer({ min: -8, max: 7 }),
      sampling: fc.record(
        {
          temperature: number,
          topP: number,
          topK: number,
          minP: number,
          repetitionPenalty: number,
          frequencyPenalty: number,
          presencePenalty: number,
        },
        { noNullPrototype: true },
      ),
      seedLow: fc.nat(2 ** 32 - 1),
      seedHigh: fc.nat(2 ** 32 - 1),
      maxTokens: fc.nat(),
      minTokens: fc.nat(),
      ignoreEos: fc.boolean(),
      promptTokenIds: ids32,
      stopTokenIds: ids32,
      biases: fc.array(fc.tuple(fc.nat(), fc.float({ noNaN: true }))),
    },
    { noNullPrototype: true },
  )
  .map(({ biases, ...rest }) => ({
    ...rest,
    biasTokenIds: Int32Array.from(biases, ([tokenId]) => tokenId),
    biasValues: Float32Array.from(biases, ([, value]) => value),
  }))

const spec: StartSpec = {
  modelPath: '/models/ä',
  digest: 'ab'.repeat(32),
  ...cpuStart,
  kvCacheType: 'float16',
  kvCacheBytes: null,
  numThreads: 2,
  maxTokensPerStep: 512,
  maxSequences: 64,
}

t.test('every message comes back as it went in', (t) => {
  fc.assert(
    fc.property(submission, (sent) => {
      const received = decode(encodeSubmit(sent))
      if (received.kind !== 'submit') return false
      t.strictSame(received.submission, sent)
      return true
    }),
  )
  t.strictSame(decode(encodeAbort(7)), { kind: 'abort', id: 7 })
  t.strictSame(decode(encodeInspect(2 ** 53 - 1)), { kind: 'inspect', id: 2 ** 53 - 1 })
  t.strictSame(decode(encodeStart(spec)), { kind: 'start', spec })
  t.end()
})

t.test('a frame cut at any byte, or with one too many, is refused', (t) => {
  const whole = encodeSubmit(fc.sample(submission, { numRuns: 1, seed: 1 })[0]!)
  for (const frame of [whole, encodeAbort(1), encodeInspect(1)]) {
    for (let end = frameHeaderBytes; end < frame.length; end++) {
      t.throws(() => decode(frame.subarray(0, end)), FrameError)
    }
    t.throws(() => decode(Buffer.concat([frame, Buffer.of(0)])), FrameError)
  }
  t.end()
})

t.test('garbage is a FrameError, never another error and never a huge allocation', (t) => {
  fc.assert(
    fc.property(fc.nat(255), fc.uint8Array({ maxLength: 200 }), (type, bytes) => {
      try {
        decodeToCore(type, Buffer.from(bytes))
      } catch (error) {
        return error instanceof FrameError
      }
      return true
    }),
    { numRuns: 2000 },
  )
  t.end()
})

t.test('a start frame with a missing, wrong or absurd field is refused', (t) => {
  const changes: readonly object[] = [
    { modelPath: 1 },
    { digest: undefined },
    { device: 'tpu' },
    { dtype: 'int8' },
    { numerics: undefined },
    { isBatchInvariant: 1 },
    { useGraphs: 'on' },
    { gpuMemoryFraction: 0 },
    { gpuMemoryFraction: 1.01 },
    { kvCacheType: 'int8' },
    { kvCacheBytes: -1 },
    { numThreads: 1.5 },
    { maxTokensPerStep: 0 },
    { maxSequences: '64' },
    { maxStepsInFlight: 3 },
    { maxStepMs: 0 },
    { maxQueueMs: '1s' },
    { tenantCacheShare: 2 },
    { tracePath: 7 },
  ]
  for (const change of changes) {
    t.throws(() => decode(encodeStart({ ...spec, ...change })), FrameError, JSON.stringify(change))
  }
  t.throws(() => decodeToCore(1, Buffer.from('null')), FrameError)
  t.throws(() => decodeToCore(1, Buffer.from('{')), FrameError)
  t.end()
})

function decode(frame: Buffer) {
  return decodeToCore(frame.readUInt8(4), frame.subarray(frameHeaderBytes))
}
