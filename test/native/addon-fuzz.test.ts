import fc from 'fast-check'
import t from 'tap'
import { loadAddon, type NativeModel } from '../../engine/core/addon.js'
import { makeTinyModel } from './support/tiny-model.js'

/**
 * Wrong arguments to every entry. The only outcomes are a result, a JavaScript exception and a
 * rejected promise; a crash ends this process and so fails the test.
 */

const addon = loadAddon()
const tiny = makeTinyModel({}, t.teardown)

type AnyFunction = (...args: unknown[]) => unknown

const oddValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.anything({ withBigInt: true, withTypedArray: true, withSparseArray: true, withDate: true }),
  fc.constantFrom<unknown>(
    -0,
    2 ** 31,
    2 ** 32 + 1,
    -(2 ** 31),
    2 ** 53,
    1.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    10n,
    Symbol('odd'),
    () => 3,
    new Float64Array(4),
    new Int32Array(0),
    new DataView(new ArrayBuffer(8)),
    new Proxy({}, {}),
    Object.create(null),
  ),
  fc.integer(),
)

/** Settles whatever a call gives; says whether it was refused with an Error. */
async function outcome(call: () => unknown): Promise<'ok' | 'refused'> {
  try {
    await call()
    return 'ok'
  } catch (error) {
    if (!(error instanceof Error)) throw new Error(`something else was thrown: ${String(error)}`)
    return 'refused'
  }
}

t.test('entries of the addon', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(oddValue, { maxLength: 4 }), async (args) => {
      const load = addon.loadModel as AnyFunction
      if ((await outcome(() => load(...args))) === 'ok') throw new Error('nonsense was loaded')
      await outcome(() => (addon.cpuFeatures as AnyFunction)(...args))
      await outcome(() => (addon.defaultNumThreads as AnyFunction)(...args))
      await outcome(() => (addon.cudaStatus as AnyFunction)(...args))
      const needs = addon.memoryNeeds as AnyFunction
      if ((await outcome(() => needs(...args))) === 'ok') throw new Error('nonsense was planned')
    }),
    { numRuns: 300 },
  )
  t.pass('the process lives')
})

/** Every path to a leaf of the spec that may be replaced by something else. */
const paths: string[][] = [
  ...Object.keys(tiny.spec).map((key) => [key]),
  ...Object.keys(tiny.spec.config).map((key) => ['config', key]),
  ...Object.keys(tiny.spec.tensors[0]!).map((key) => ['tensors', '0', key]),
  ...Object.keys(tiny.spec.files[0]!).map((key) => ['files', '0', key]),
  ['tensors', '0', 'shape', '0'],
]

/** These name no memory: some odd values of theirs are good ones. */
const sizesToBeLeft = new Set(['numThreads', 'numBlocks', 'maxContextLen', 'vocabSize'])

t.test('a spec with one value replaced', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...paths), oddValue, async (path, value) => {
      const last = path.at(-1)!
      // A huge but honest size would be taken, and that is not what is tested here.
      if (typeof value === 'number' && (sizesToBeLeft.has(last) || last.startsWith('max'))) return
      const spec = structuredClone(tiny.spec) as unknown as Record<string, unknown>
      let target: Record<string, unknown> = spec
      for (const key of path.slice(0, -1)) target = target[key] as Record<string, unknown>
      target[last] = value
      await outcome(() => (addon.memoryNeeds as AnyFunction)({ ...spec, device: 'cuda' }))
      let model: NativeModel | undefined
      await outcome(async () => {
        model = (await (addon.loadModel as AnyFunction)(spec, () => {})) as NativeModel
      })
      model?.close()
    }),
    { numRuns: 400 },
  )
  t.pass('the process lives')
})

t.test('entries of a model, and values of every view', async (t) => {
  const model = await addon.loadModel(tiny.spec, () => {})
  const names = ['step', 'fillSamplerSlot'] as const
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...names),
      fc.array(oddValue, { maxLength: 4 }),
      async (name, args) => {
        await outcome(() => (model[name] as AnyFunction)(...args))
        // A borrowed function has no receiver to be wrong about.
        await outcome(() => (model[name] as AnyFunction).apply(args[0], args))
      },
    ),
    { numRuns: 300 },
  )

  const size = fc.integer({ min: -1, max: 30 })
  const word = fc.oneof(fc.integer(), fc.integer({ min: -2, max: 140 }))
  await fc.assert(
    fc.asyncProperty(size, size, size, fc.infiniteStream(word), async (s, n, d, words) => {
      for (const views of model.stepBatches) {
        for (const view of Object.values(views))
          for (let i = 0; i < 40; i++) view[i] = words.next().value
      }
      await outcome(() => model.step(s, n, d))
    }),
    { numRuns: 300 },
  )
  model.close()
  t.pass('the process lives')
})
