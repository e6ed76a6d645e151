import { symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { ModelFileError } from '../../../engine/model/model-description.js'
import { openModel, openWeights } from '../../../engine/model/open-model.js'
import { buildGguf } from './support/build-gguf.js'
import { OPEN_OPTIONS } from './support/open-options.js'
import {
  tinyConfig,
  tinyFiles,
  tinyGguf,
  tinyGgufWith,
  writeFolder,
} from './support/tiny-models.js'

const open = (path: string) => openModel(path, OPEN_OPTIONS)
const FIXTURES = join(process.cwd(), 'test/fixtures/models')

t.test('a folder, a file, and a folder with one file', async (t) => {
  const root = t.testdir({ one: {} })
  const folder = writeFolder(join(root, 'tiny'), tinyFiles())
  const model = await open(folder)
  t.match(model, { name: 'tiny', format: 'safetensors', generation: { eosTokenIds: [3] } })
  t.equal(model.tensors.length, 11)

  const file = join(root, 'tiny.Q.gguf')
  writeFileSync(file, buildGguf(tinyGguf()))
  t.match(await open(file), {
    name: 'tiny.Q',
    format: 'gguf',
    text: { tokenizer: { numTokens: 4 } },
  })
  writeFileSync(join(root, 'one', 'only.gguf'), buildGguf(tinyGguf()))
  t.match(await open(join(root, 'one')), { name: 'only', format: 'gguf' })
  writeFileSync(join(root, 'one', 'second.gguf'), buildGguf(tinyGguf()))
  await t.rejects(open(join(root, 'one')), /several GGUF files; name one of only.gguf, second.gguf/)
})

t.test('the core sees the same model and the same digest, without text', async (t) => {
  const folder = writeFolder(join(t.testdir(), 'tiny'), tinyFiles())
  const file = join(folder, 'tiny.gguf')
  writeFileSync(file, buildGguf(tinyGguf()))
  for (const path of [folder, file]) {
    const { text, generation, ...weights } = await open(path)
    t.same(await openWeights(path), weights)
  }
})

t.test("a model in the hub's cache is named after its repository or its file", async (t) => {
  const root = join(t.testdir(), 'models--owner--tiny-model')
  const snapshot = writeFolder(join(root, 'snapshots', 'f00'), tinyFiles())
  t.equal((await open(snapshot)).name, 'tiny-model')
  writeFolder(join(root, 'blobs'), new Map([['d1935', buildGguf(tinyGguf())]]))
  symlinkSync('../../blobs/d1935', join(snapshot, 'tiny.Q4_1.gguf'))
  const model = await open(join(snapshot, 'tiny.Q4_1.gguf'))
  t.equal(model.name, 'tiny.Q4_1')
  t.equal(basename(model.files[0]!.path), 'd1935')
})

t.test('what is no model is refused with a sentence', async (t) => {
  const root = t.testdir({ empty: {}, 'a.txt': 'hello', 'a.gguf': 'PK\x03\x04', 'a.bin': 'GGUF' })
  const cases: [string, RegExp][] = [
    ['absent', /path: does not exist/],
    ['empty', /config.json: is missing from the folder/],
    ['a.txt', /is no GGUF file. Give a .gguf file, or the folder/],
    ['a.gguf', /is a zip archive/],
    ['a.bin', /is a PyTorch pickle/],
  ]
  for (const [name, message] of cases) {
    await t.rejects(open(join(root, name)), ModelFileError, name)
    await t.rejects(open(join(root, name)), message, name)
    await t.rejects(openWeights(join(root, name)), message, name)
  }
  await t.rejects(open('/dev/null'), /neither a folder nor a file/)
})

t.test('tokens beyond the logits are refused, fewer are not', async (t) => {
  const path = join(t.testdir(), 'a.gguf')
  const withTokens = (value: string[]) => {
    const types = { type: 'int32s', value: value.map(() => 1) } as const
    const tokens = { type: 'strings', value } as const
    writeFileSync(
      path,
      tinyGgufWith({ 'tokenizer.ggml.tokens': tokens, 'tokenizer.ggml.token_type': types }),
    )
    return open(path)
  }
  t.equal((await withTokens(['a', 'b', 'c'])).config.vocabSize, 4)
  await t.rejects(
    withTokens(['a', 'b', 'c', 'd', 'e']),
    /has 5 tokens, allowed are 1 to the logits/,
  )
  await t.rejects(withTokens([]), /has 0 tokens/)
})

t.test(
  'a config that disagrees with the tensors is refused before a kernel runs (F9)',
  async (t) => {
    const folder = t.testdir()
    const keys = Object.keys(tinyConfig()).filter((key) => typeof tinyConfig()[key] === 'number')
    const change = fc.record({
      key: fc.constantFrom(...keys),
      value: fc.oneof(fc.constantFrom(0, 1, 2, 8, 16, 64, 2 ** 31, 1e300, -1), fc.integer()),
    })
    const shapes = (await open(writeFolder(folder, tinyFiles()))).tensors.map(({ shape }) => shape)
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
        const config = tinyConfig()
        for (const { key, value } of changes) config[key] = value
        writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
        try {
          const model = await open(folder)
          // Accepted: then the sizes that the kernels use are those of the tensors.
          t.same(
            model.tensors.map(({ shape }) => shape),
            shapes,
          )
          t.match(model.config, { hiddenSize: 8, intermediateSize: 8, vocabSize: 4, numLayers: 1 })
          t.equal(model.config.numHeads * model.config.headDim, 8)
        } catch (error) {
          if (!(error instanceof ModelFileError)) throw error
        }
      }),
      { numRuns: 300 },
    )
  },
)

t.test('the fixtures: three architectures, two formats, five types', async (t) => {
  for (const architecture of ['llama', 'qwen2', 'qwen3']) {
    const folder = join(FIXTURES, `${architecture}-tiny`)
    const f32 = await open(join(folder, 'f32'))
    t.equal(f32.config.architecture, architecture)
    const names = f32.tensors.map(({ name }) => name)
    t.same(
      (await open(join(folder, 'bf16'))).tensors.map(({ name }) => name),
      names,
    )
    for (const type of ['f16', 'q8_0', 'q4_0', 'q4_1']) {
      const gguf = await open(join(folder, `${architecture}-tiny-${type}.gguf`))
      const { ropeScaling, rmsNormEpsilon, ...config } = gguf.config
      t.match(f32.config, config, `${architecture} ${type}`)
      t.equal(rmsNormEpsilon, Math.fround(f32.config.rmsNormEpsilon))
      const ggufNames = gguf.tensors
        .map(({ name }) => name)
        .filter((n) => n !== 'rope_freqs.weight')
      t.same(ggufNames, names)
      t.equal(gguf.tensors.find(({ name }) => name === 'blk.0.attn_q.weight')?.type, type)
      t.same(gguf.generation, f32.generation)
    }
  }
})
