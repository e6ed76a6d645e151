import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { CoreEngine, startEngine } from '../../engine/engine.js'
import type { EngineOptions } from '../../engine/engine-options.js'
import type { Delta, GenerateRequest, Generation } from '../../engine/generate-request.js'
import { openModel } from '../../engine/model/open-model.js'
import { tokenizerFromGguf } from '../../engine/text/gguf-tokenizer.js'
import { buildTokenTable } from '../../engine/text/token-table.js'
import { cpuEngine } from '../support/device-defaults.js'
import { until } from '../support/processes.js'
import { fakeAnswer } from './support/fake-model.js'
import { RecordingLogger } from './support/recording-logger.js'
import { maxContextLen, poisons, stubCorePath, vocabSize } from './support/stub-core-facts.js'
import { BreakableThreads } from './text/breakable-threads.js'

const modelPath = 'test/fixtures/models/llama-tiny/f32'
const description = await openModel(modelPath, { tokenizerFromGguf })
const tokenTable = buildTokenTable(description.text)
const forever = new AbortController().signal
const baseOptions: EngineOptions = {
  modelPath,
  ...cpuEngine,
  kvCacheType: 'float32',
  maxTokensPerStep: 64,
  maxSequences: 8,
  maxQueuedRequests: 8,
  logger: new RecordingLogger(),
}

t.test('the whole engine, with its own core', async (t) => {
  const advisedSampling = { temperature: 0.2, topP: 0.9 }
  const engine = await startEngine({ ...baseOptions, numThreads: 1, advisedSampling })
  t.match(engine.generationDefaults, { ...advisedSampling, eosTokenIds: [2, 0] })
  t.teardown(() => engine.close())
  t.equal(engine.model.id, 'f32', 'the folder, where nobody names it otherwise')
  await engine.ready
  const [first, second] = await Promise.all([
    engine.generate(request([1, 2, 3], { maxTokens: 20 }), forever).then(collect),
    engine.generate(request([1, 2, 3], { maxTokens: 20 }), forever).then(collect),
  ])
  t.equal(textOf(first), textOf(second))
  t.match(await engine.inspect(), { numRunning: 0, numUsedBlocks: 0, numCoreRestarts: 0 })
  t.same(await engine.drain(1000), { numUnfinished: 0 })
})

t.test('a broken file is refused before any process starts', async (t) => {
  const options = { ...baseOptions, modelPath: '/no/such/model' }
  await t.rejects(startEngine(options), { name: 'ModelFileError' })
})

t.test('a core that cannot start fails the engine in its words', async (t) => {
  const engine = await startEngine({ ...baseOptions, kvCacheBytes: 100 })
  await t.rejects(engine.ready, { code: 'engine_failed', message: /--kv-cache-bytes/ })
  t.equal(engine.state, 'failed')
  const refused = engine.generate(request([1]), forever)
  await t.rejects(refused, { code: 'engine_failed', isFinal: true })
  await engine.close()
})

t.test('from loading to an answer, with its usage', async (t) => {
  const { engine, plans } = startStubbed(t, { servedModelName: 'tiny' })
  t.equal(engine.state, 'loading')
  await t.rejects(engine.generate(request([1]), forever), { code: 'model_loading' })
  await engine.ready
  t.equal(engine.state, 'ready')
  t.match(engine.model, { id: 'tiny', maxContextLen, vocabSize, maxSequences: 8 })
  t.match(plans, [{ numBlocks: 256, numCacheTokens: 4096, kernels: 'fake' }])

  const generation = await engine.generate(request([1, 2, 3], { maxTokens: 6 }), forever)
  t.equal(generation.numPromptTokens, 3)
  const deltas = await collect(generation)
  t.equal(textOf(deltas), expectedText([1, 2, 3], 6))
  t.same(deltas.at(-1)?.finish, { reason: 'length' })
  t.same(deltas.at(-1)?.usage, {
    numPromptTokens: 3,
    numCachedTokens: 0,
    numCompletionTokens: 6,
  })
  t.equal(
    deltas.reduce((sum, delta) => sum + delta.numTokens, 0),
    6,
  )
})

t.test('choices: each its own answer, over one prompt', async (t) => {
  const { engine } = await startReady(t)
  const prompt = Array.from({ length: 40 }, (_, i) => i)
  const many = { ...request(prompt, { maxTokens: 12 }), numChoices: 4 }
  const deltas = await collect(await engine.generate(many, forever))
  for (const choice of [0, 1, 2, 3]) {
    const own = deltas.filter((delta) => delta.choice === choice)
    t.equal(textOf(own), expectedText(prompt, 12), `choice ${choice}`)
    t.same(own.at(-1)!.finish, { reason: 'length' })
  }
  t.equal(deltas.filter(({ usage }) => usage !== undefined).length, 1)
  t.match(deltas.at(-1)!.usage, { numPromptTokens: 40, numCompletionTokens: 48 })
  t.match(await engine.inspect(), { numRunning: 0, numWaiting: 0, numUsedBlocks: 0 })
  // The next request's ids begin behind those of the choices.
  t.equal(
    textOf(await collect(await engine.generate(request([1, 2], { maxTokens: 3 }), forever))),
    expectedText([1, 2], 3),
  )
})

t.test('choices: all end with their reader, and all count in the queue', async (t) => {
  const { engine } = await startReady(t, { maxSequences: 4, maxQueuedRequests: 2 })
  const leaver = new AbortController()
  const many = { ...request([1], { maxTokens: 900 }), numChoices: 4 }
  const generation = await engine.generate(many, leaver.signal)
  await generation.deltas[Symbol.asyncIterator]().next()
  t.match(await engine.inspect(), { numRunning: 4 })
  const refused = engine.generate({ ...many, numChoices: 3 }, forever)
  await t.rejects(refused, { code: 'server_overloaded' })
  leaver.abort()
  t.match(await engine.inspect(), { numRunning: 0, numUsedBlocks: 0 })
  await collect(await engine.generate({ ...request([2]), numChoices: 3 }, forever))
})

t.test('choices: a dead core fails them all if one has shown something', async (t) => {
  const { engine } = await startReady(t)
  const many = { ...request([1], { maxTokens: 900 }), numChoices: 3 }
  const generation = await engine.generate(many, forever)
  await generation.deltas[Symbol.asyncIterator]().next()
  process.kill((await engine.inspect()).corePid, 'SIGKILL')
  await t.rejects(collect(generation), { code: 'engine_failed' })
  await until(() => engine.state === 'ready')
  const waiting = { ...request([poisons.exitOnce], { maxTokens: 5 }), numChoices: 2 }
  // This one kills every core, twice: it is handed on once, with all its choices.
  await t.rejects(collect(await engine.generate(waiting, forever)), { code: 'engine_failed' })
  await until(() => engine.state === 'ready')
  t.match(await engine.inspect(), { numRunning: 0, numCoreRestarts: 3 })
})

t.test('chats and texts are tokenized; a second prompt finds its prefix', async (t) => {
  const { engine } = await startReady(t)
  const messages = [
    { role: 'user', content: 'Good morning, how are you today? '.repeat(8) },
  ] as const
  const chat = { ...request([]), prompt: { kind: 'chat', messages } } as const
  const first = await collect(await engine.generate(chat, forever))
  const second = await collect(await engine.generate(chat, forever))
  t.equal(textOf(first), textOf(second))
  t.equal(first.at(-1)!.usage!.numCachedTokens, 0)
  t.ok(second.at(-1)!.usage!.numCachedTokens >= 16)

  const text = { ...request([]), prompt: { kind: 'text', text: 'Once upon' } } as const
  const generation = await engine.generate(text, forever)
  t.ok(generation.numPromptTokens > 0)
  await collect(generation)
})

t.test('what cannot be served is refused before anything is sent', async (t) => {
  const { engine } = await startReady(t)
  const refusals: readonly (readonly [GenerateRequest, string])[] = [
    [request([]), 'invalid_prompt'],
    [request([vocabSize]), 'invalid_prompt'],
    [request(new Array(maxContextLen).fill(1)), 'context_length_exceeded'],
    [
      { ...request([1]), sampling: { logitBias: [{ tokenId: vocabSize, bias: 1 }] } },
      'invalid_prompt',
    ],
  ]
  for (const [refused, code] of refusals) {
    await t.rejects(engine.generate(refused, forever), { code })
  }
  await collect(await engine.generate(request([1]), forever))
})

t.test('the queue is bounded, and leaving makes room', async (t) => {
  const { engine } = await startReady(t, { maxSequences: 1, maxQueuedRequests: 1 })
  const leaver = new AbortController()
  const first = await engine.generate(request([1], { maxTokens: 500 }), leaver.signal)
  const second = await engine.generate(request([2], { maxTokens: 2 }), forever)
  await t.rejects(engine.generate(request([3]), forever), { code: 'server_overloaded' })
  leaver.abort()
  await t.rejects(collect(first), { name: 'AbortError' })
  const third = await engine.generate(request([3], { maxTokens: 2 }), forever)
  t.equal(textOf(await collect(second)), expectedText([2], 2))
  t.equal(textOf(await collect(third)), expectedText([3], 2))
})

t.test('an abort at any stage gives everything back', async (t) => {
  const { engine } = await startReady(t, { maxSequences: 1, maxTokensPerStep: 16 })
  const aborted = AbortSignal.abort()
  await t.rejects(engine.generate(request([1]), aborted), { name: 'AbortError' })

  const decoding = new AbortController()
  const inDecode = await engine.generate(request([1], { maxTokens: 900 }), decoding.signal)
  const queued = new AbortController()
  const inQueue = await engine.generate(request([2]), queued.signal)
  await inDecode.deltas[Symbol.asyncIterator]().next()
  t.match(await engine.inspect(), { numRunning: 1, numWaiting: 1 })
  queued.abort()
  t.match(await engine.inspect(), { numRunning: 1, numWaiting: 0 })
  decoding.abort()
  t.match(await engine.inspect(), { numRunning: 0, numWaiting: 0, numUsedBlocks: 0 })
  await t.rejects(collect(inQueue), { name: 'AbortError' })

  const prefilling = new AbortController()
  await engine.generate(request(new Array(900).fill(7)), prefilling.signal)
  await until(async () => (await engine.inspect()).numRunning === 1)
  prefilling.abort()
  t.match(await engine.inspect(), { numRunning: 0, numUsedBlocks: 0 })

  const tokenizing = new AbortController()
  const long = { ...request([]), prompt: { kind: 'text', text: 'word '.repeat(400) } } as const
  const refused = engine.generate(long, tokenizing.signal)
  tokenizing.abort()
  await t.rejects(refused, { name: 'AbortError' })
  t.same(await engine.drain(1000), { numUnfinished: 0 })
})

t.test('a reader that breaks off ends its sequence; a stop string does, too', async (t) => {
  const { engine } = await startReady(t)
  const broken = await engine.generate(request([1], { maxTokens: 900 }), forever)
  for await (const _delta of broken.deltas) break
  t.match(await engine.inspect(), { numRunning: 0 })

  const text = expectedText([1, 2, 3], 12)
  const stopString = text.slice(3, 6)
  const stop = { maxTokens: 900, stopStrings: [stopString] }
  const deltas = await collect(await engine.generate(request([1, 2, 3], stop), forever))
  t.equal(textOf(deltas), text.slice(0, text.indexOf(stopString)))
  t.match(deltas.at(-1), { finish: { reason: 'stop', stopString } })
  t.match(await engine.inspect(), { numRunning: 0, numUsedBlocks: 0 })
})

t.test('a slow reader gets few deltas and the whole text', async (t) => {
  const { engine } = await startReady(t)
  const generation = await engine.generate(request([1, 2, 3], { maxTokens: 50 }), forever)
  await until(async () => {
    const { numRunning, numWaiting, numSteps } = await engine.inspect()
    return numSteps > 0 && numRunning + numWaiting === 0
  })
  const deltas = await collect(generation)
  t.equal(deltas.length, 1)
  t.equal(deltas[0]!.numTokens, 50)
  t.equal(textOf(deltas), expectedText([1, 2, 3], 50))
})

t.test('a dead core: what was shown fails, what waits is handed to the next one', async (t) => {
  const { engine } = await startReady(t, { maxSequences: 1 })
  const shown = await engine.generate(request([1], { maxTokens: 900 }), forever)
  const iterator = shown.deltas[Symbol.asyncIterator]()
  await iterator.next()
  const waiting = await engine.generate(request([2, 3], { maxTokens: 5 }), forever)
  process.kill((await engine.inspect()).corePid, 'SIGKILL')
  await t.rejects(
    (async () => {
      for (;;) await iterator.next()
    })(),
    { code: 'engine_failed', message: 'The process that ran the model ended during this request.' },
  )
  t.equal(engine.state, 'restarting')
  await t.rejects(engine.generate(request([1]), forever), { code: 'model_loading' })
  t.equal(textOf(await collect(waiting)), expectedText([2, 3], 5))
  t.equal(engine.state, 'ready')
  t.match(await engine.inspect(), { numCoreRestarts: 1, numUsedBlocks: 0 })
})

t.test('leaving while the next core starts disturbs nobody', async (t) => {
  const logger = new RecordingLogger()
  const options = { ...baseOptions, logger, numThreads: 1, maxSequences: 1 }
  const engine = await startEngine({ ...options, maxQueuedRequests: 200 })
  t.teardown(() => engine.close())
  await engine.ready
  const running = await engine.generate(request([1], { maxTokens: 900 }), forever)
  await running.deltas[Symbol.asyncIterator]().next()
  const leavers = Array.from({ length: 150 }, () => new AbortController())
  for (const { signal } of leavers) {
    const generation = await engine.generate(request([2]), signal)
    collect(generation).catch(() => {})
  }
  const stays = await engine.generate(request([3], { maxTokens: 3 }), forever)
  process.kill((await engine.inspect()).corePid, 'SIGKILL')
  await until(() => engine.state === 'restarting')
  // One at a time, so that some leave after the new process was spawned and before it is ready.
  while (engine.state === 'restarting') {
    leavers.pop()?.abort()
    await sleep(10)
  }
  for (const leaver of leavers) leaver.abort()
  t.equal((await collect(stays)).at(-1)!.usage!.numCompletionTokens, 3)
  t.match(await engine.inspect(), { numCoreRestarts: 1, numRunning: 0, numWaiting: 0 })
  t.notMatch(logger.lines.join('\n'), /could not be started/)
})

t.test('a request that kills every core is handed on once, and not again', async (t) => {
  const { engine } = await startReady(t)
  const poison = await engine.generate(request([poisons.exit]), forever)
  await t.rejects(collect(poison), { code: 'engine_failed', message: /ended during this request/ })
  await until(() => engine.state === 'ready')
  t.equal((await engine.inspect()).numCoreRestarts, 2)
  t.equal(
    textOf(await collect(await engine.generate(request([1], { maxTokens: 3 }), forever))),
    expectedText([1], 3),
  )
})

t.test('without tokenizer threads the engine has failed, though its core is well', async (t) => {
  const threads = new BreakableThreads()
  t.teardown(() => threads.restore())
  const { engine } = await startReady(t)
  await threads.break()
  await until(() => engine.state === 'failed')
  t.ok((await engine.inspect()).corePid > 0)
  await t.rejects(engine.generate(request([1]), forever), { code: 'engine_failed' })
})

t.test('draining finishes what is admitted, refuses what is new, and has an end', async (t) => {
  const finishing = await startReady(t)
  const generation = await finishing.engine.generate(request([1], { maxTokens: 40 }), forever)
  const drained = finishing.engine.drain(10_000)
  t.equal(finishing.engine.state, 'draining')
  await t.rejects(finishing.engine.generate(request([1]), forever), { code: 'shutting_down' })
  t.equal(textOf(await collect(generation)), expectedText([1], 40))
  t.same(await drained, { numUnfinished: 0 })

  const cut = await startReady(t)
  const endless = await cut.engine.generate(request([1], { maxTokens: 1000 }), forever)
  t.same(await cut.engine.drain(50), { numUnfinished: 1 })
  await t.rejects(collect(endless), { code: 'shutting_down' })
  await cut.engine.close()
})

function startStubbed(t: Test, change: Partial<EngineOptions> = {}) {
  const plans: object[] = []
  const engine = new CoreEngine(
    {
      ...baseOptions,
      onMemoryPlan: (plan) => plans.push(plan),
      ...change,
    },
    description,
    stubCorePath,
  )
  t.teardown(() => engine.close())
  return { engine, plans }
}

async function startReady(t: Test, change: Partial<EngineOptions> = {}) {
  const started = startStubbed(t, change)
  await started.engine.ready
  return started
}

/** Greedy in the fake model's sense: seed 0. */
function request(
  tokenIds: readonly number[],
  stop: GenerateRequest['stop'] = { maxTokens: 8 },
): GenerateRequest {
  return {
    prompt: { kind: 'tokens', tokenIds: Int32Array.from(tokenIds) },
    sampling: { seed: 0n },
    stop: { ignoreEos: true, ...stop },
    numChoices: 1,
    priority: 0,
    tenant: 0,
  }
}

function expectedText(prompt: readonly number[], numTokens: number): string {
  const bytes = fakeAnswer(prompt, numTokens, vocabSize).map((id) => tokenTable.bytes(id))
  return Buffer.concat(bytes).toString('utf8')
}

async function collect(generation: Generation): Promise<Delta[]> {
  const deltas: Delta[] = []
  for await (const delta of generation.deltas) deltas.push(delta)
  return deltas
}

function textOf(deltas: readonly Delta[]): string {
  return deltas.map(({ text }) => text).join('')
}
