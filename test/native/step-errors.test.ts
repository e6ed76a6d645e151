import t from 'tap'
import { loadAddon, type NativeModel, type StepBatchViews } from '../../engine/core/addon.js'
import { Runner, type TestSequence } from './support/runner.js'
import { makeTinyModel } from './support/tiny-model.js'

const addon = loadAddon()
const tiny = makeTinyModel({}, t.teardown)
const { spec } = tiny
const { vocabSize } = spec.config

/** A decode (context 6), a chunk of 20 tokens that does not sample, and a whole prompt of 17. */
async function start(): Promise<{ model: NativeModel; runner: Runner; sizes: Sizes }> {
  const model = await addon.loadModel(spec, () => {})
  const runner = new Runner(model, spec)
  const decode = runner.add([1, 2, 3, 4, 5], 40)
  await runner.step([{ sequence: decode, numNewTokens: 5 }])
  const tokens = (length: number) => Array.from({ length }, (_, i) => (i * 7) % vocabSize)
  const scheduled: [TestSequence, number][] = [
    [decode, 1],
    [runner.add(tokens(30), 40), 20],
    [runner.add(tokens(17), 40), 17],
  ]
  const sizes = runner.pack(
    scheduled.map(([sequence, numNewTokens]) => ({ sequence, numNewTokens })),
  )
  return { model, runner, sizes }
}

type Sizes = [number, number, number]
type Spoil = (views: StepBatchViews) => void

const big = 2 ** 31 - 1
const spoiled: [string, Spoil, RegExp][] = [
  [
    'a row that the step before did not have',
    (v) => (v.tokenIds[3] = -2),
    /tokenIds\[3\] is -2; it must be from 0 to 130, or -1 - r .*it had 1 rows/,
  ],
  ['a token id beyond the vocabulary', (v) => (v.tokenIds[0] = vocabSize), /tokenIds\[0\] is 131/],
  ['the smallest token id', (v) => (v.tokenIds[37] = -big - 1), /tokenIds\[37\] is -2147483648/],
  ['the largest token id', (v) => (v.tokenIds[37] = big), /tokenIds\[37\]/],
  [
    'a position before its own',
    (v) => (v.positions[0] = 4),
    /positions\[0\] is 4; it must be from 5/,
  ],
  ['a position below 0', (v) => (v.positions[1] = -1), /positions\[1\]/],
  ['a position beyond the context', (v) => (v.positions[37] = big), /positions\[37\]/],
  ['a slot of another token', (v) => (v.slotMapping[2] = v.slotMapping[1]!), /slotMapping\[2\]/],
  ['a slot beyond the cache', (v) => (v.slotMapping[2] = big), /slotMapping\[2\]/],
  ['a slot below 0', (v) => (v.slotMapping[0] = -16), /slotMapping\[0\]/],
  ['starts that do not begin at 0', (v) => (v.queryStarts[0] = 1), /queryStarts\[0\] is 1/],
  ['a sequence without tokens', (v) => (v.queryStarts[2] = 1), /queryStarts\[2\] is 1/],
  ['a decode of two tokens', (v) => (v.queryStarts[1] = 2), /queryStarts\[1\] is 2/],
  ['starts beyond the tokens', (v) => (v.queryStarts[2] = big), /queryStarts\[2\]/],
  ['starts that fall', (v) => (v.queryStarts[2] = -5), /queryStarts\[2\] is -5/],
  ['starts that end early', (v) => (v.queryStarts[3] = 37), /queryStarts\[3\] is 37/],
  ['a context below its new tokens', (v) => (v.contextLens[1] = 19), /contextLens\[1\] is 19/],
  ['a context beyond the block table', (v) => (v.contextLens[1] = 257), /contextLens\[1\] is 257/],
  ['a context below 0', (v) => (v.contextLens[0] = -big), /contextLens\[0\]/],
  [
    'a block beyond the pool',
    (v) => (v.blockTables[16] = 128),
    /blockTables\[16\] is 128.*0 to 127/,
  ],
  ['a block below 0', (v) => (v.blockTables[33] = -1), /blockTables\[33\] is -1/],
  ['a sampler slot too many', (v) => (v.samplerSlots[2] = 24), /samplerSlots\[2\] is 24/],
  ['a sampler slot below 0', (v) => (v.samplerSlots[0] = -1), /samplerSlots\[0\]/],
  [
    'one sampler slot for two',
    (v) => (v.samplerSlots[2] = v.samplerSlots[0]!),
    /one sequence only/,
  ],
  ['a row that samples twice', (v) => (v.sampleRows[0] = 2), /sampleRows\[0\] is 2/],
  ['bias starts that do not begin at 0', (v) => (v.biasStarts[0] = 1), /biasStarts\[0\]/],
  ['bias starts that fall', (v) => v.biasStarts.set([0, 4, 3, 3]), /biasStarts\[2\] is 3/],
  ['copies below none', (v) => (v.numBlockCopies[0] = -1), /numBlockCopies\[0\] is -1/],
  ['more copies than there is room', (v) => (v.numBlockCopies[0] = 25), /is 25.*0 to 24/],
  ['a copy from beyond the pool', (v) => setCopies(v, 128, 1), /blockCopies\[0\] is 128/],
  ['a copy to below the pool', (v) => setCopies(v, 1, -1), /blockCopies\[1\] is -1/],
  ['a copy onto itself', (v) => setCopies(v, 5, 5), /blockCopies\[1\] is 5.*one copy only/],
  ['two copies into one block', (v) => setCopies(v, 1, 3, 2, 3), /blockCopies\[1\] is 3/],
  ['a copy of a copy', (v) => setCopies(v, 1, 3, 3, 4), /blockCopies\[1\] is 3/],
  ['more adjustments than there is room', (v) => (v.biasStarts[3] = 257), /biasStarts\[3\] is 257/],
]

function setCopies(views: StepBatchViews, ...pairs: number[]): void {
  views.blockCopies.set(pairs)
  views.numBlockCopies[0] = pairs.length / 2
}

t.test('a step with a value out of range is refused, and nothing is computed', async (t) => {
  for (const [name, spoil, message] of spoiled) {
    const { model, runner, sizes } = await start()
    const views = runner.nextViews
    const before = snapshot(views)
    spoil(views)
    await t.rejects(model.step(...sizes), { message }, name)
    restore(views, before)
    await model.step(...sizes)
    t.ok(views.sampledTokenIds[0]! >= 0, 'the same step, mended, runs')
    model.close()
  }
})

t.test('the three sizes have limits of their own', async (t) => {
  const { model, sizes } = await start()
  const [, numTokens] = sizes
  await t.rejects(model.step(0, 0, 0), { message: /numSequences is 0/ })
  await t.rejects(model.step(25, numTokens, 0), { message: /numSequences is 25.*1 to 24/ })
  await t.rejects(model.step(3, 65, 1), { message: /numTokens is 65.*3 to 64/ })
  await t.rejects(model.step(3, 2, 1), { message: /numTokens is 2/ })
  await t.rejects(model.step(3, numTokens, 4), { message: /numDecodes is 4/ })
  await t.rejects(model.step(3, numTokens, -1), { message: /numDecodes is -1/ })
  await model.step(...sizes)
  model.close()
})

const unsound: [string, Spoil][] = [
  ['temperature NaN', (v) => (v.temperatures[2] = Number.NaN)],
  ['temperature below 0', (v) => (v.temperatures[2] = -1)],
  ['temperature infinite', (v) => (v.temperatures[2] = Number.POSITIVE_INFINITY)],
  ['topP over 1', (v) => (v.topPs[2] = 1.5)],
  ['minP below 0', (v) => (v.minPs[2] = -0.5)],
  ['topK below 0', (v) => (v.topKs[2] = -1)],
  ['no repetition penalty', (v) => (v.repetitionPenalties[2] = 0)],
  ['frequency penalty NaN', (v) => (v.frequencyPenalties[2] = Number.NaN)],
  ['presence penalty infinite', (v) => (v.presencePenalties[2] = Number.NEGATIVE_INFINITY)],
  ['choice below 0', (v) => (v.choices[2] = -1)],
  ['a bias beyond the vocabulary', (v) => setBias(v, vocabSize, 1)],
  ['a bias below 0', (v) => setBias(v, -1, 1)],
  ['a bias NaN', (v) => setBias(v, 3, Number.NaN)],
]

function setBias(views: StepBatchViews, tokenId: number, value: number): void {
  views.biasStarts.set([0, 0, 0, 1])
  views.biasTokenIds[0] = tokenId
  views.biasValues[0] = value
}

t.test('sampling parameters without meaning fail their own sequence alone', async (t) => {
  const { model: sound, runner: soundRunner, sizes: soundSizes } = await start()
  const soundViews = soundRunner.nextViews
  await sound.step(...soundSizes)
  const expected = soundViews.sampledTokenIds[0]
  sound.close()
  for (const [name, spoil] of unsound) {
    const { model, runner, sizes } = await start()
    const views = runner.nextViews
    spoil(views)
    await model.step(...sizes)
    t.strictSame([...views.sampledTokenIds.slice(0, 3)], [expected, 0, -1], name)
    model.close()
  }
})

t.test('the sampler slot checks what it is given', async (t) => {
  const { model } = await start()
  const fill = (slot: number, ids: number[], numPrompt: number) => () =>
    model.fillSamplerSlot(slot, Int32Array.from(ids), numPrompt)
  t.throws(fill(24, [1], 1), { message: /slot is 24; there are 24/ })
  t.throws(fill(-1, [1], 1), { message: /slot is -1/ })
  t.throws(fill(0, [1, 2], 3), { message: /numPromptTokens is 3; there are 2/ })
  t.throws(fill(0, [1, 2], -1), { message: /numPromptTokens is -1/ })
  t.throws(fill(0, [1, vocabSize], 1), { message: /tokenIds\[1\] is 131/ })
  t.throws(fill(0, [-1], 1), { message: /tokenIds\[0\] is -1/ })
  t.doesNotThrow(fill(0, [], 0))
  model.close()
})

function snapshot(views: StepBatchViews): Map<string, ArrayLike<number>> {
  return new Map(Object.entries(views).map(([name, view]) => [name, view.slice()]))
}

function restore(views: StepBatchViews, before: Map<string, ArrayLike<number>>): void {
  for (const [name, view] of Object.entries(views)) view.set(before.get(name))
}
