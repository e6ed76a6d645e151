import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { startCore } from '../../../engine/core/start-core.js'
import { frameHeaderBytes } from '../../../engine/frame-layout.js'
import { decodeFromCore, type FromCore } from '../../../engine/frames-from-core.js'
import type { StartSpec } from '../../../engine/frames-to-core.js'
import { openWeights } from '../../../engine/model/open-model.js'
import { cpuStart } from '../../support/device-defaults.js'
import { until } from '../../support/processes.js'
import { makeSubmission } from '../support/submissions.js'

const modelPath = 'test/fixtures/models/qwen3-tiny/bf16'
const { digest, config } = await openWeights(modelPath)
const spec: StartSpec = {
  modelPath,
  digest,
  ...cpuStart,
  kvCacheType: 'float16',
  kvCacheBytes: 2 ** 18,
  numThreads: 1,
  maxTokensPerStep: 32,
  maxSequences: 2,
}

t.test('a start frame becomes a loop that answers', async (t) => {
  const messages: FromCore[] = []
  const { model, loop, ready } = await startCore(spec, (frame) => {
    messages.push(decodeFromCore(frame.readUInt8(4), frame.subarray(frameHeaderBytes)))
  })
  t.match(ready, { digest, blockSize: 16, numThreads: 1 })
  t.equal(ready.maxContextLen, 16 * ready.numBlocks, 'the pool holds less than a context')
  t.ok(ready.maxContextLen < config.maxContextLen)
  t.ok(ready.kvCacheBytes <= 2 ** 18)
  t.equal(ready.kvCacheBytes, model.memory.kvCache)
  t.match(messages[0], { kind: 'loading' })
  const isMonotonic = messages.every(
    (message) => message.kind === 'loading' && message.numBytesDone <= message.numBytes,
  )
  t.ok(isMonotonic)

  loop.run().catch(() => {})
  const submission = makeSubmission({ maxTokens: 4 })
  loop.receive({ kind: 'submit', submission })
  const steps = () => messages.filter((message) => message.kind === 'step')
  await until(() => steps().length === 4)
  t.same(
    steps().map(({ step }) => step.stepNumber),
    [1, 2, 3, 4],
    'the steps that warmed it up are not counted',
  )
  await sleep(10)
  t.equal(loop.isStepInFlight, false)
  model.close()
})

t.test('files that are not what the front read are refused', async (t) => {
  await t.rejects(
    startCore({ ...spec, digest: 'ff'.repeat(32) }, () => {}),
    /has changed since/,
  )
})
