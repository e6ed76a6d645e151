import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { CoreProcess } from '../../../engine/core-process.js'
import { type CoreReady, type FromCore, stepFinish } from '../../../engine/frames-from-core.js'
import {
  encodeAbort,
  encodeInspect,
  encodeStart,
  encodeSubmit,
  type StartSpec,
} from '../../../engine/frames-to-core.js'
import { openWeights } from '../../../engine/model/open-model.js'
import { cpuStart } from '../../support/device-defaults.js'
import { isAlive, until } from '../../support/processes.js'
import { RecordingLogger } from '../support/recording-logger.js'
import { makeSubmission } from '../support/submissions.js'

const entryPath = fileURLToPath(new URL('../../../engine/core/main.js', import.meta.url))
const modelPath = 'test/fixtures/models/llama-tiny/f32'
const spec: StartSpec = {
  modelPath,
  digest: (await openWeights(modelPath)).digest,
  ...cpuStart,
  kvCacheType: 'float32',
  kvCacheBytes: null,
  numThreads: 1,
  maxTokensPerStep: 64,
  maxSequences: 4,
}

t.test('loads, says what it took, answers and is silent when idle', async (t) => {
  const core = spawnCore(t)
  const ready = await core.start()
  t.match(ready, { digest: spec.digest, blockSize: 16, maxContextLen: 1024, numThreads: 1 })
  t.equal(ready.numBlocks, (4 * 1024) / 16, 'four contexts')
  t.equal(ready.kvCacheBytes, ready.numBlocks * 2 * 2 * 2 * 16 * 16 * 4)
  t.ok(ready.weightsBytes > 0 && ready.workspaceBytes > 0 && ready.samplerBytes > 0)
  t.ok(ready.warmUpMs > 0)
  t.ok(core.messages.some(({ kind }) => kind === 'loading'))

  core.process.send(encodeSubmit(makeSubmission({ id: 5, maxTokens: 20 })))
  await until(() => core.finished.has(5))
  t.equal(core.tokens.get(5)?.length, 20)
  t.ok(core.tokens.get(5)?.every((tokenId) => tokenId >= 0 && tokenId < 512))
  core.process.send(encodeAbort(5))
  core.process.send(encodeInspect(8))
  await until(() => core.messages.some(({ kind }) => kind === 'state'))
  t.match(core.messages.at(-1), { kind: 'state', id: 8, state: { numUsedBlocks: 0 } })
  await core.process.end()
  t.match(core.exits[0], /code 0/)
})

t.test('a seeded sequence is the same alone and beside others', async (t) => {
  const core = spawnCore(t)
  await core.start()
  const { sampling } = makeSubmission()
  const seeded = (id: number) =>
    makeSubmission({ id, maxTokens: 40, seedLow: 77, sampling: { ...sampling, temperature: 1 } })
  core.process.send(encodeSubmit(seeded(1)))
  await until(() => core.finished.has(1))
  const others = [3, 4, 5].map((id) =>
    makeSubmission({ id, maxTokens: 40, promptTokenIds: Int32Array.of(id, 9, 9) }),
  )
  for (const submission of [...others, seeded(2)]) core.process.send(encodeSubmit(submission))
  await until(() => core.finished.size === 5)
  t.same(core.tokens.get(2), core.tokens.get(1))
  t.not(core.tokens.get(3), core.tokens.get(1))
})

t.test('signals of the group do not end it', async (t) => {
  const core = spawnCore(t)
  await core.start()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.kill(core.process.pid, signal)
  }
  core.process.send(encodeSubmit(makeSubmission({ maxTokens: 3 })))
  await until(() => core.finished.has(1))
  t.equal(core.finished.get(1), stepFinish.length)
})

t.test('what cannot be started is refused in words', async (t) => {
  const refusals: readonly (readonly [Partial<StartSpec>, RegExp])[] = [
    [{ digest: '00'.repeat(32) }, /has changed since/],
    [{ modelPath: '/no/such/model' }, /\/no\/such\/model/],
    [{ kvCacheBytes: 1000 }, /1000 bytes.*--kv-cache-bytes/s],
    [{ kvCacheBytes: 2 ** 50 }, /memory limit/],
  ]
  for (const [change, words] of refusals) {
    const core = spawnCore(t)
    core.process.send(encodeStart({ ...spec, ...change }))
    await until(() => core.exits.length === 1)
    t.match(core.exits[0], words)
    t.notMatch(core.exits[0], /at .*\.js:/, 'no stack')
  }
})

t.test('weights that give no numbers are refused before the first request', async (t) => {
  const core = spawnCore(t)
  const folder = join(t.testdir({}), 'broken')
  cpSync(modelPath, folder, { recursive: true })
  const path = join(folder, 'model.safetensors')
  const bytes = readFileSync(path)
  // 0xff in every byte of the data is NaN in every weight.
  bytes.fill(0xff, 8 + Number(bytes.readBigUInt64LE(0)))
  writeFileSync(path, bytes)
  const { digest } = await openWeights(folder)
  core.process.send(encodeStart({ ...spec, modelPath: folder, digest }))
  await until(() => core.exits.length === 1)
  t.match(core.exits[0], /no usable numbers/)
})

t.test('a front that speaks nonsense is left', async (t) => {
  const garbage = spawnCore(t)
  garbage.process.send(Buffer.alloc(16, 0xff))
  await until(() => garbage.exits.length === 1)
  t.match(garbage.exits[0], /malformed frame/)

  const early = spawnCore(t)
  early.process.send(encodeInspect(1))
  await until(() => early.exits.length === 1)
  t.match(early.exits[0], /has not started/)

  const twice = spawnCore(t)
  await twice.start()
  twice.process.send(encodeStart(spec))
  await until(() => twice.exits.length === 1)
  t.match(twice.exits[0], /told to start twice/)
})

t.test('the end of the pipe ends it, idle, busy and while it loads', async (t) => {
  const busy = spawnCore(t)
  await busy.start()
  for (let id = 1; id <= 4; id++) {
    busy.process.send(encodeSubmit(makeSubmission({ id, maxTokens: 1000 })))
  }
  await until(() => (busy.tokens.get(4)?.length ?? 0) > 0)
  const loading = spawnCore(t)
  loading.process.send(encodeStart(spec))
  for (const core of [busy, loading]) {
    const startMs = performance.now()
    await core.process.end()
    t.ok(performance.now() - startMs < 1000, `gone after ${performance.now() - startMs} ms`)
    t.equal(isAlive(core.process.pid), false)
  }
})

/** A real core process and everything it sent. */
function spawnCore(t: Test) {
  const messages: FromCore[] = []
  const exits: string[] = []
  const tokens = new Map<number, number[]>()
  const finished = new Map<number, number>()
  const core = new CoreProcess({
    entryPath,
    logger: new RecordingLogger(),
    onMessage: (message) => {
      messages.push(message)
      if (message.kind !== 'step') return
      for (const [i, id] of message.step.ids.entries()) {
        tokens.set(id, [...(tokens.get(id) ?? []), message.step.tokenIds[i]!])
        const finish = message.step.finishes[i]!
        if (finish !== stepFinish.none) finished.set(id, finish)
      }
    },
    onExit: (reason) => exits.push(reason),
  })
  t.teardown(() => core.kill('the test is over'))
  const start = async (): Promise<CoreReady> => {
    core.send(encodeStart(spec))
    await until(() => {
      if (exits.length > 0) throw new Error(exits[0])
      return messages.some(({ kind }) => kind === 'ready')
    })
    const ready = messages.find((message) => message.kind === 'ready')
    return ready!.ready
  }
  return { process: core, messages, exits, tokens, finished, start }
}
