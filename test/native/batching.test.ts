import t from 'tap'
import { loadAddon, type NativeModel, type NativeModelSpec } from '../../engine/core/addon.js'
import { Runner, type TestSampling, type TestSequence } from './support/runner.js'
import { makeTinyModel, uniformNumbers } from './support/tiny-model.js'

const addon = loadAddon()
const numNewTokens = 32
const numSequences = 18

/** Every third greedy, the others sampled with filters, penalties and biases of their own. */
function samplingOf(i: number): TestSampling {
  if (i % 3 === 0) return {}
  if (i % 3 === 1) return { temperature: 0.9, topP: 0.9, seed: 100 + i }
  return {
    temperature: 1.2,
    topK: 40,
    repetitionPenalty: 1.1,
    frequencyPenalty: 0.3,
    seed: 100 + i,
    biases: [
      [i, 2],
      [5, Number.NEGATIVE_INFINITY],
    ],
  }
}

function prompts(vocabSize: number): number[][] {
  const uniform = uniformNumbers(99)
  const token = () => Math.floor(uniform() * vocabSize)
  return Array.from({ length: numSequences }, (_, i) => Array.from({ length: 1 + i * 3 }, token))
}

type Way = (runner: Runner, sequences: TestSequence[]) => Promise<void>

const solo: Way = async (runner, sequences) => {
  for (const sequence of sequences) await runner.generate(sequence, numNewTokens, 64)
}

const inChunksOf =
  (chunkLen: number): Way =>
  async (runner, sequences) => {
    for (const sequence of sequences) await runner.generate(sequence, numNewTokens, chunkLen)
  }

/** All prompts first, as far as the budget goes; then all sequences decode together. */
const batched: Way = async (runner, sequences) => {
  for (const sequence of sequences) await runner.generate(sequence, 1, 64)
  for (let i = 1; i < numNewTokens; i++) {
    await runner.step(sequences.map((sequence) => ({ sequence, numNewTokens: 1 })))
  }
}

/** The same with two steps in flight. */
const overlapped: Way = async (runner, sequences) => {
  for (const sequence of sequences) await runner.generate(sequence, 1, 64)
  await runner.decodeOverlapped(sequences, numNewTokens - 1)
}

/** Sequences join one by one while the others decode, their prompts in chunks of a changing size. */
const mixed: Way = async (runner, sequences) => {
  const ends = new Map(sequences.map((one) => [one, one.tokenIds.length + numNewTokens]))
  const waiting = [...sequences]
  const running: TestSequence[] = []
  const uniform = uniformNumbers(5)
  while (waiting.length + running.length > 0) {
    if (waiting.length > 0 && uniform() < 0.5) running.push(waiting.shift()!)
    const left = (one: TestSequence) => one.tokenIds.length - one.numComputedTokens
    const decodes = running.filter((one) => left(one) === 1)
    const prefills = running.filter((one) => left(one) > 1).slice(0, 2)
    const scheduled = [
      ...decodes.map((sequence) => ({ sequence, numNewTokens: 1 })),
      ...prefills.map((sequence) => ({
        sequence,
        numNewTokens: Math.min(left(sequence), 2 + Math.floor(uniform() * 15)),
      })),
    ]
    if (scheduled.length > 0) await runner.step(scheduled)
    for (const one of [...running]) {
      if (one.tokenIds.length >= ends.get(one)!) running.splice(running.indexOf(one), 1)
    }
  }
}

async function answers(model: NativeModel, spec: NativeModelSpec, way: Way): Promise<number[][]> {
  const runner = new Runner(model, spec)
  const all = prompts(spec.config.vocabSize)
  const sequences = all.map((prompt, i) =>
    runner.add(prompt, prompt.length + numNewTokens, samplingOf(i)),
  )
  await way(runner, sequences)
  return sequences.map((one, i) => one.tokenIds.slice(all[i]!.length))
}

for (const kvCacheType of ['float32', 'float16'] as const) {
  t.test(`ids are the same however they were batched, ${kvCacheType} cache`, async (t) => {
    const tiny = makeTinyModel({ seed: 3, spec: { kvCacheType } }, t.teardown)
    // A fresh model each: step counts and sampler slots begin anew, nothing is carried over.
    const run = async (way: Way, numThreads: number) => {
      const spec = { ...tiny.spec, numThreads }
      const model = await addon.loadModel(spec, () => {})
      const result = await answers(model, spec, way)
      model.close()
      return result
    }
    const expected = await run(solo, 2)
    t.ok(expected.flat().every((id) => id >= 0 && id < tiny.config.vocabSize))
    t.notOk(expected.flatMap((ids, i) => (i % 3 === 2 ? ids : [])).includes(5), 'a ban holds')
    t.ok(new Set(expected.flat()).size > 50, 'answers wander')
    t.strictSame(await run(solo, 1), expected, 'one thread')
    t.strictSame(await run(solo, 3), expected, 'three threads')
    t.strictSame(await run(batched, 2), expected, 'all decode in one batch')
    t.strictSame(await run(overlapped, 2), expected, 'two steps in flight')
    t.strictSame(await run(inChunksOf(7), 2), expected, 'prompts in chunks of 7')
    t.strictSame(await run(inChunksOf(1), 2), expected, 'prompts token by token')
    t.strictSame(await run(mixed, 2), expected, 'prefill chunks and decodes in one step')
  })
}

t.test('ids are the same on every instruction set this machine has', async (t) => {
  const tiny = makeTinyModel({ seed: 4, spec: { kvCacheType: 'float16' } }, t.teardown)
  t.teardown(() => delete process.env.KVASIR_ISA)
  const results: Record<string, number[][]> = {}
  // A greater set than the machine has means the best one: that is a result twice, which is equal.
  for (const isa of ['portable', 'avx2', 'avx512', 'neon']) {
    process.env.KVASIR_ISA = isa
    const model = await addon.loadModel(tiny.spec, () => {})
    results[addon.cpuFeatures().kernels] = await answers(model, tiny.spec, batched)
    model.close()
  }
  t.ok(Object.keys(results).length > 1, `ran on ${Object.keys(results).join(', ')}`)
  for (const [isa, ids] of Object.entries(results)) t.strictSame(ids, results.portable, isa)
})
