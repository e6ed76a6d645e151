import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { loadAddon, type StepBatchViews } from '../../engine/core/addon.js'
import { Runner } from './support/runner.js'
import { makeTinyModel } from './support/tiny-model.js'

const addon = loadAddon()
const tiny = makeTinyModel({ spec: { maxTokensPerStep: 256 } }, t.teardown)
const prompt = Array.from({ length: 200 }, (_, i) => i % tiny.config.vocabSize)

async function start() {
  const model = await addon.loadModel(tiny.spec, () => {})
  const runner = new Runner(model, tiny.spec)
  const sizes = runner.pack([{ sequence: runner.add(prompt, 220), numNewTokens: 200 }])
  return { model, runner, sizes }
}

function copyViews(from: StepBatchViews, to: StepBatchViews): void {
  for (const [name, view] of Object.entries(to)) {
    view.set((from as unknown as Record<string, Int32Array>)[name]!)
  }
}

t.test('the addon says what the machine can do', async (t) => {
  const features = addon.cpuFeatures()
  t.ok(['avx512', 'avx2', 'neon', 'portable'].includes(features.kernels))
  t.ok(features.names.every((name) => typeof name === 'string'))
  const numThreads = addon.defaultNumThreads()
  t.ok(Number.isInteger(numThreads) && numThreads >= 1 && numThreads <= 256)
})

t.test('the addon says what there is of CUDA, with or without it', async (t) => {
  const { isBuilt, driverVersion, runtimeVersion, fault, devices } = addon.cudaStatus()
  t.equal(runtimeVersion !== null, isBuilt)
  if (!isBuilt) t.match(fault, /no CUDA backend.*nvcc.*Install .*choose --device cpu/)
  else if (driverVersion === null) t.match(fault, /no NVIDIA driver.*--device cpu/)
  t.equal(fault === null, devices.length > 0, 'there is a device, or a reason')
  const spec = { ...tiny.spec, device: 'cuda' } as const
  if (isBuilt) t.match(addon.memoryNeeds(spec), { weights: Number, workspace: Number })
  else t.throws(() => addon.memoryNeeds(spec), { message: fault! })
  if (fault === null) return
  await t.rejects(
    addon.loadModel(spec, () => {}),
    { message: fault },
    'a load is refused with the same',
  )
})

t.test('two steps may be in flight, a third and an end are refused', async (t) => {
  const { model, sizes } = await start()
  const [first, second] = model.stepBatches
  copyViews(first, second)
  const settled: number[] = []
  const running = [0, 1].map((i) => model.step(...sizes).then(() => settled.push(i)))
  t.throws(() => model.step(...sizes), { message: /two steps are running; await one first/ })
  t.throws(() => model.close(), { message: /close: a step is running; await it first/ })
  model.fillSamplerSlot(0, Int32Array.of(1), 1)
  await Promise.all(running)
  t.strictSame(settled, [0, 1], 'promises settle in order')
  t.ok(first.sampledTokenIds[0]! >= 0)
  t.equal(second.sampledTokenIds[0], first.sampledTokenIds[0])
  await model.step(...sizes)
  model.close()
})

t.test('a step that fails takes the one behind it along, and its batch is the next', async (t) => {
  const { model, sizes } = await start()
  const [first, second] = model.stepBatches
  copyViews(first, second)
  first.tokenIds[3] = tiny.config.vocabSize
  const results = await Promise.allSettled([model.step(...sizes), model.step(...sizes)])
  t.match(results, [
    { status: 'rejected', reason: { message: /tokenIds\[3\] is 131/, code: undefined } },
    { status: 'rejected', reason: { message: /was not run, because the step before it failed/ } },
  ])
  first.tokenIds[3] = 3
  second.sampledTokenIds[0] = -7
  await model.step(...sizes)
  t.ok(first.sampledTokenIds[0]! >= 0)
  t.equal(second.sampledTokenIds[0], -7)
  const last = [model.step(...sizes), model.step(0, 0, 0)]
  t.match(await Promise.allSettled(last), [{ status: 'fulfilled' }, { status: 'rejected' }])
  t.equal(second.sampledTokenIds[0], first.sampledTokenIds[0], 'the one before is unharmed')
  model.close()
})

t.test('a closed model refuses work, closes again, and its views stay readable', async (t) => {
  const { model, runner, sizes } = await start()
  const views = runner.nextViews
  model.close()
  model.close()
  t.throws(() => model.step(...sizes), { message: /step: the model is closed/ })
  t.throws(() => model.fillSamplerSlot(0, Int32Array.of(1), 1), { message: /closed/ })
  t.equal(views.queryStarts[1], 200)
  views.tokenIds.fill(1)
})

t.test('batches alternate: step n reads stepBatches[n % 2]', async (t) => {
  const { model, runner, sizes } = await start()
  const [first, second] = model.stepBatches
  t.equal(runner.nextViews, first)
  await model.step(...sizes)
  t.ok(first.sampledTokenIds[0]! >= 0)
  await t.rejects(model.step(...sizes), { message: /queryStarts/ }, 'the other one is still empty')
  copyViews(first, second)
  await model.step(...sizes)
  t.equal(second.sampledTokenIds[0], first.sampledTokenIds[0])
  model.close()
})

t.test('several models live side by side', async (t) => {
  const all = await Promise.all([start(), start(), start()])
  const ids = await Promise.all(
    all.map(async ({ model, runner, sizes }) => {
      const views = runner.nextViews
      await model.step(...sizes)
      return views.sampledTokenIds[0]
    }),
  )
  t.equal(new Set(ids).size, 1)
  for (const { model } of all) model.close()
})

const endings: Record<string, string> = {
  'exits with two steps in flight': 'model.step(...sizes); model.step(...sizes); process.exit(0)',
  'exits while a step runs': 'model.step(...sizes); process.exit(0)',
  'exits with an idle model': 'process.exit(0)',
  'runs out of work with an open model': '',
  'exits after closing': 'model.close(); process.exit(0)',
  'exits while another model loads': 'addon.loadModel(spec, () => {}); process.exit(0)',
  'drops a model while its step runs and collects it': `
    model.step(...sizes).catch(() => {})
    model.step(...sizes).catch(() => {})
    model = undefined
    for (let i = 0; i < 5; i++) { gc(); await new Promise((done) => setTimeout(done, 5)) }`,
}

t.test('a worker thread may be ended at any moment of loading and stepping', async (t) => {
  const url = (path: string) => pathToFileURL(resolve(import.meta.dirname, path)).href
  const script = `
    const { parentPort, workerData } = require('node:worker_threads')
    const main = async () => {
      const { loadAddon } = await import(workerData.addonUrl)
      const { Runner } = await import(workerData.runnerUrl)
      parentPort.postMessage('ready')
      for (;;) {
        const model = await loadAddon().loadModel(workerData.spec, () => {})
        const runner = new Runner(model, workerData.spec)
        for (let i = 0; i < 3; i++) {
          const sequence = runner.add(Array.from({ length: 200 }, (_, i) => i % 131), 220)
          await runner.step([{ sequence, numNewTokens: 200 }])
        }
      }
    }
    main()`
  const workerData = {
    spec: tiny.spec,
    addonUrl: url('../../engine/core/addon.js'),
    runnerUrl: url('support/runner.js'),
  }
  for (let delayMs = 0; delayMs < 40; delayMs += 2) {
    const worker = new Worker(script, { eval: true, workerData })
    await once(worker, 'message')
    await setTimeout(delayMs)
    await worker.terminate()
  }
  t.pass('the process lives')
})

t.test('the process ends cleanly whatever the model is doing', async (t) => {
  // Pieces of the compiled test are imported by a child, so that its death can be watched.
  const url = (path: string) =>
    JSON.stringify(pathToFileURL(resolve(import.meta.dirname, path)).href)
  for (const [name, ending] of Object.entries(endings)) {
    const script = `
      const { loadAddon } = await import(${url('../../engine/core/addon.js')})
      const { Runner } = await import(${url('support/runner.js')})
      const spec = ${JSON.stringify(tiny.spec)}
      const addon = loadAddon()
      let model = await addon.loadModel(spec, () => {})
      const runner = new Runner(model, spec)
      const sequence = runner.add(Array.from({ length: 200 }, (_, i) => i % 131), 220)
      const sizes = runner.pack([{ sequence, numNewTokens: 200 }])
      ${ending}`
    const child = spawnSync(
      process.execPath,
      ['--expose-gc', '--input-type=module', '-e', script],
      {
        encoding: 'utf8',
        timeout: 20_000,
      },
    )
    t.strictSame([child.status, child.signal, child.stderr], [0, null, ''], name)
  }
})
