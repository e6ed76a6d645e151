import t from 'tap'
import { loadAddon, type NativeModel } from '../../engine/core/addon.js'
import { Runner, type TestSequence } from './support/runner.js'
import { makeTinyModel } from './support/tiny-model.js'

// What a step may take from the one before it (tokens that are not known yet, whole KV blocks) and
// what may be said while steps are in flight. That ids stay the same is held in batching.test.ts.

const addon = loadAddon()
const tiny = makeTinyModel({ seed: 7 }, t.teardown)
const { spec } = tiny
const prompt = Array.from({ length: 20 }, (_, i) => (i * 29 + 3) % spec.config.vocabSize)

async function start(kvCacheType: 'float32' | 'float16' = 'float32') {
  const model = await addon.loadModel({ ...spec, kvCacheType }, () => {})
  return { model, runner: new Runner(model, spec) }
}

/** One decode of each, whose new token is a reference to a row of the step before. */
async function decodeRows(model: NativeModel, runner: Runner, rows: [TestSequence, number][]) {
  for (const [sequence, row] of rows) sequence.tokenIds[sequence.numComputedTokens] = -1 - row
  const views = runner.nextViews
  await model.step(...runner.pack(rows.map(([sequence]) => ({ sequence, numNewTokens: 1 }))))
  return [...views.sampledTokenIds.slice(0, rows.length)]
}

t.test('a reference to a row that did not sample is refused', async (t) => {
  const { model, runner } = await start()
  const chunk = runner.add(prompt, 40)
  const whole = runner.add(prompt, 40)
  await runner.step([
    { sequence: chunk, numNewTokens: 10 },
    { sequence: whole, numNewTokens: 20 },
  ])
  await t.rejects(decodeRows(model, runner, [[whole, 0]]), {
    message: /tokenIds\[0\] is -1; it must be .* a row r that the step before sampled/,
  })
  t.match(await decodeRows(model, runner, [[whole, 1]]), [Number], 'the same step, mended')
  model.close()
})

t.test('the first step has none before it', async (t) => {
  const { model, runner } = await start()
  const sequence = { ...runner.add([], 40), tokenIds: [-1] }
  await t.rejects(model.step(...runner.pack([{ sequence, numNewTokens: 1 }])), {
    message: /tokenIds\[0\] is -1/,
  })
  model.close()
})

t.test('a row that failed is read as token 0', async (t) => {
  const { model, runner } = await start()
  const failing = runner.add(prompt, 40, { temperature: Number.NaN })
  t.strictSame([...(await runner.step([{ sequence: failing, numNewTokens: 20 }]))], [-1])
  const views = runner.nextViews
  const sizes = runner.pack([{ sequence: failing, numNewTokens: 1 }])
  views.temperatures[0] = 0
  await model.step(...sizes)

  const plain = await start()
  const zero = plain.runner.add([...prompt, 0], 40)
  const expected = await plain.runner.step([{ sequence: zero, numNewTokens: 21 }])
  t.equal(views.sampledTokenIds[0], expected[0])
  for (const one of [model, plain.model]) one.close()
})

for (const kvCacheType of ['float32', 'float16'] as const) {
  t.test(`a fork goes on from a copied block, ${kvCacheType} cache`, async (t) => {
    const { model, runner } = await start(kvCacheType)
    const parent = runner.add(prompt, 40)
    await runner.step([{ sequence: parent, numNewTokens: 20 }])
    parent.tokenIds[20] = 5
    // Shares the full block; the partial one is copied in the step that first writes behind it.
    const spare = runner.add([], 32)
    const [full, partial] = parent.blockTable
    const copy = spare.blockTable[1]!
    const fork: TestSequence = {
      ...spare,
      tokenIds: [...prompt, 9],
      blockTable: [full!, copy],
      numComputedTokens: 20,
    }
    runner.copyBlock(partial!, copy)
    for (let i = 0; i < 4; i++) {
      await runner.step([parent, fork].map((sequence) => ({ sequence, numNewTokens: 1 })))
    }
    for (const sequence of [parent, fork]) {
      const alone = runner.add(sequence.tokenIds.slice(0, 21), 40)
      await runner.generate(alone, 4, 64)
      t.strictSame(sequence.tokenIds, alone.tokenIds)
    }
    t.strictNotSame(parent.tokenIds.slice(21), fork.tokenIds.slice(21))
    model.close()
  })
}

t.test('a sampler slot filled while a step runs holds from the next one on', async (t) => {
  const { model, runner } = await start()
  const other = runner.add(prompt, 40)
  const sequence = runner.add(prompt, 60, { frequencyPenalty: 1000 })
  // With every other token in the output already, the penalty leaves only this one.
  const [early, late] = [77, 78].map((left) =>
    Int32Array.from({ length: spec.config.vocabSize }, (_, id) => (id === left ? 0 : id)),
  )
  const running = runner.step([{ sequence: other, numNewTokens: 20 }])
  model.fillSamplerSlot(sequence.samplerSlot, early!, 0)
  model.fillSamplerSlot(sequence.samplerSlot, late!, 0)
  late!.fill(78)
  t.throws(() => model.fillSamplerSlot(24, late!, 0), { message: /slot is 24/ }, 'checked at once')
  await running
  t.strictSame([...(await runner.step([{ sequence, numNewTokens: 20 }]))], [78])
  model.close()
})
