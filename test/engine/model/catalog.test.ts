import t from 'tap'
import {
  CATALOG,
  DEFAULT_MODEL,
  findInCatalog,
  nearestShortName,
} from '../../../engine/model/catalog.js'

t.test('short names are found in any case, and lead to one repository each', async (t) => {
  t.match(findInCatalog('Qwen3-0.6B'), { repository: 'Qwen/Qwen3-0.6B', hasPythonPackage: false })
  t.match(findInCatalog(DEFAULT_MODEL), { hasPythonPackage: true })
  t.equal(findInCatalog('qwen3'), undefined)
  t.equal(new Set(CATALOG.map(({ repository }) => repository)).size, CATALOG.length)
  t.ok(CATALOG.every(({ shortName }) => shortName === shortName.toLowerCase()))
})

t.test('advice on sampling is only given where a model card gives it', async (t) => {
  t.strictSame(findInCatalog(DEFAULT_MODEL)?.advisedSampling, { temperature: 0.2, topP: 0.9 })
  t.strictSame(findInCatalog('llama-3.2-1b-instruct')?.advisedSampling, {})
})

t.test('a mistake is answered with the name that was meant', async (t) => {
  for (const [given, meant] of [
    ['smolm2-135m', 'smollm2-135m-instruct'],
    ['smollm2-360-instruct', 'smollm2-360m-instruct'],
    ['qwen3-06b', 'qwen3-0.6b'],
    ['llama-3.2-1b', 'llama-3.2-1b-instruct'],
    ['Qwen2.5-1.5B', 'qwen2.5-1.5b-instruct'],
    ['deepseek-r1', 'deepseek-r1-distill-qwen-1.5b'],
  ] as const) {
    t.equal(nearestShortName(given), meant, given)
  }
})
