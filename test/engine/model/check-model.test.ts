import { join } from 'node:path'
import t from 'tap'
import { checkModel, formatModelReport } from '../../../engine/model/check-model.js'
import { OPEN_OPTIONS } from './support/open-options.js'
import { tinyFiles, writeFolder } from './support/tiny-models.js'

t.test('a model that can be served: its sizes, types and digest', async (t) => {
  const folder = writeFolder(join(t.testdir(), 'tiny'), tinyFiles())
  const report = await checkModel(folder, OPEN_OPTIONS)
  // 4 x 8 embedding, 7 matrices of 8 x 8, 3 norms of 8.
  const numParameters = 32 + 7 * 64 + 24
  t.match(report, { numParameters, numWeightBytes: 4 * numParameters, problems: [] })
  t.same(report.types, [
    { type: 'f32', numTensors: 11, numParameters, byteLength: 4 * numParameters },
  ])
  const text = formatModelReport(report)
  t.match(text, /parameters +504\n/)
  t.match(text, /digest +[0-9a-f]{64}\nThis model can be served\.$/)
})

t.test('a quantised file: types by their share', async (t) => {
  const path = join(process.cwd(), 'test/fixtures/models/llama-tiny/llama-tiny-q4_0.gguf')
  const report = await checkModel(path, OPEN_OPTIONS)
  t.same(
    report.types.map(({ type }) => type),
    ['q4_0', 'f32'],
  )
  t.match(formatModelReport(report), /rope +theta 10000, scaled as in Llama 3/)
})

t.test('a refusal is a problem, another error is thrown', async (t) => {
  const folder = writeFolder(join(t.testdir(), 'tiny'), tinyFiles({ 'config.json': '{}' }))
  const report = await checkModel(folder, OPEN_OPTIONS)
  t.equal(report.model, undefined)
  t.match(report.problems[0], /architectures: is missing/)
  t.match(formatModelReport(report), /^refused {2}.*\nThis model cannot be served\.$/)
  const path = join(process.cwd(), 'test/fixtures/models/llama-tiny/llama-tiny-q4_0.gguf')
  const tokenizerFromGguf = () => {
    throw new Error('a fault of ours')
  }
  await t.rejects(checkModel(path, { tokenizerFromGguf }), /a fault of ours/)
})
