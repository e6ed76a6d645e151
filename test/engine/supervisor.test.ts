import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type CoreReady, stepFinish } from '../../engine/frames-from-core.js'
import { encodeSubmit } from '../../engine/frames-to-core.js'
import { Supervisor } from '../../engine/supervisor.js'
import { cpuStart } from '../support/device-defaults.js'
import { isAlive, until } from '../support/processes.js'
import { RecordingLogger } from './support/recording-logger.js'
import { poisons, stubCorePath } from './support/stub-core-facts.js'
import { makeSubmission } from './support/submissions.js'

const digest = 'ab'.repeat(32)
const watchdogLimits = {
  maxSilenceMs: 1200,
  minStepLimitMs: 1200,
  stepFactor: 20,
  maxLoadSilenceMs: 1200,
}

t.test('starts, serves, counts and ends', async (t) => {
  const s = supervise(t)
  t.equal(s.supervisor.state, 'loading')
  const ready = await s.supervisor.start()
  t.match(ready, { digest, kernels: 'fake' })
  t.same(s.loading, [[50, 100]])
  t.equal(s.supervisor.state, 'ready')
  s.submit()
  await until(() => s.numTokens === 8)
  t.match(await s.supervisor.inspect(), { numRunning: 0, numUsedBlocks: 0, numBlocks: 256 })
  const pid = s.supervisor.corePid
  await s.supervisor.close()
  t.equal(isAlive(pid), false)
  t.equal(s.supervisor.state, 'closed')
  t.same(s.downs, [], 'an end that was asked for is no failure')
  const { lines } = s.logger
  t.ok(lines.includes('info core: a line') && lines.includes('warn core: a warning'))
  t.ok(lines.includes('info core: another'), 'also without its line feed')
})

t.test('every way to die is noticed within a second and made good', async (t) => {
  const ways: readonly (readonly [number, RegExp])[] = [
    [poisons.exit, /code 9/],
    [poisons.segfault, /SIGSEGV/],
    [poisons.garbage, /malformed frame/],
    [poisons.halfFrame, /middle of a frame/],
    [poisons.closePipe, /closed its connection/],
  ]
  for (const [poison, reason] of ways) {
    const s = supervise(t)
    await s.supervisor.start()
    const firstPid = s.supervisor.corePid
    s.submit(poison)
    const ms = await until(() => s.downs.length === 1)
    t.ok(ms < 1000, `noticed after ${Math.round(ms)} ms`)
    t.match(s.downs[0], reason)
    t.equal(s.supervisor.state, 'restarting')
    await t.rejects(s.supervisor.inspect(), { code: 'model_loading' })
    await until(() => s.supervisor.state === 'ready')
    t.equal(s.supervisor.numRestarts, 1)
    t.not(s.supervisor.corePid, firstPid)
    t.equal(isAlive(firstPid), false)
    s.submit()
    await until(() => s.numTokens === 8)
    await s.supervisor.close()
  }
})

t.test('every way to hang is noticed while there is work, and ends in a kill', async (t) => {
  for (const poison of [poisons.busyLoop, poisons.stop, poisons.stall]) {
    const s = supervise(t)
    await s.supervisor.start()
    const pid = s.supervisor.corePid
    s.submit(poison)
    const ms = await until(() => s.downs.length === 1)
    t.ok(ms > 1000 && ms < 4000, `noticed after ${Math.round(ms)} ms`)
    t.match(s.downs[0], /taken to hang/)
    t.equal(isAlive(pid), false)
    await until(() => s.supervisor.state === 'ready')
    await s.supervisor.close()
  }
})

t.test('an idle core is left alone', async (t) => {
  const s = supervise(t)
  await s.supervisor.start()
  const pid = s.supervisor.corePid
  await new Promise((resolve) => setTimeout(resolve, 2000))
  t.equal(s.supervisor.corePid, pid)
  t.equal(s.supervisor.state, 'ready')
})

t.test('what waits for an answer of a dead core is told', async (t) => {
  const s = supervise(t)
  await s.supervisor.start()
  s.submit(poisons.stop)
  await t.rejects(s.supervisor.inspect(), { code: 'engine_failed', message: /hang/ })
})

t.test("the first start has no second try, and its error is the core's own", async (t) => {
  const refused = supervise(t, 'refuse')
  await t.rejects(refused.supervisor.start(), {
    code: 'engine_failed',
    message: 'The model could not be started: the weights are gone',
  })
  t.equal(refused.supervisor.state, 'failed')

  await t.rejects(supervise(t, 'crash').supervisor.start(), /exited with code 7/)
  await t.rejects(supervise(t, 'hang').supervisor.start(), /of loading/)
  await t.rejects(supervise(t, 'other-model').supervisor.start(), /other model files/)
})

t.test('a core that cannot be started twice in a row is given up', async (t) => {
  const s = supervise(t, 'serve\ncrash\nrefuse\nserve')
  await s.supervisor.start()
  s.submit(poisons.exit)
  await until(() => s.supervisor.state === 'failed')
  t.same(s.downs.length, 2)
  t.match(s.downs[1], /the weights are gone/)
})

t.test('a core that fails to start once is given another try', async (t) => {
  const s = supervise(t, 'serve\ncrash\nserve')
  await s.supervisor.start()
  s.submit(poisons.exit)
  await until(() => s.supervisor.numRestarts === 1)
  t.equal(s.supervisor.state, 'ready')
})

t.test('a core that does not end with its pipe is killed', async (t) => {
  const s = supervise(t, 'linger')
  await s.supervisor.start()
  const pid = s.supervisor.corePid
  s.submit(poisons.busyLoop)
  await s.supervisor.close()
  t.equal(isAlive(pid), false)
})

t.test('closing before it is ready ends everything', async (t) => {
  const s = supervise(t)
  const started = s.supervisor.start()
  await s.supervisor.close()
  await t.rejects(started, { code: 'engine_failed' })
})

t.test('a script that does not exist is a failed start', async (t) => {
  const s = supervise(t, 'serve', '/does/not/exist.js')
  await t.rejects(s.supervisor.start(), { code: 'engine_failed' })
})

/** A supervisor of the stub core. `plan` says, line by line, how each start goes. */
function supervise(t: Test, plan = '', entryPath = stubCorePath) {
  const folder = t.testdir({})
  const modelPath = join(folder, 'model')
  if (plan !== '') writeFileSync(`${modelPath}.plan`, plan)
  const logger = new RecordingLogger()
  const seen = {
    loading: [] as number[][],
    readies: [] as CoreReady[],
    downs: [] as string[],
    live: new Set<number>(),
    numTokens: 0,
    logger,
  }
  const supervisor = new Supervisor({
    entryPath,
    spec: {
      modelPath,
      digest,
      ...cpuStart,
      kvCacheType: 'float16',
      kvCacheBytes: null,
      numThreads: null,
      maxTokensPerStep: 64,
      maxSequences: 4,
    },
    logger,
    hasWork: () => seen.live.size > 0,
    onLoading: (...progress) => seen.loading.push(progress),
    onReady: (ready) => seen.readies.push(ready),
    onMessage: (message) => {
      if (message.kind !== 'step') return
      seen.numTokens += message.step.ids.length
      for (const [i, id] of message.step.ids.entries()) {
        if (message.step.finishes[i] !== stepFinish.none) seen.live.delete(id)
      }
    },
    onDown: (reason) => {
      seen.downs.push(reason)
      seen.live.clear()
    },
    watchdogLimits,
  })
  t.teardown(() => supervisor.close())
  let lastId = 0
  const submit = (firstToken = 1) => {
    const id = ++lastId
    seen.live.add(id)
    const promptTokenIds = Int32Array.of(firstToken)
    supervisor.send(encodeSubmit(makeSubmission({ id, promptTokenIds })))
  }
  // Getters of `seen` must stay live, hence no copy.
  return Object.assign(seen, { supervisor, submit })
}
