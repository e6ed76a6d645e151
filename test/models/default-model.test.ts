import { readFileSync } from 'node:fs'
import t from 'tap'
import { readFetchSettings } from '../../engine/model/fetch-settings.js'
import { openWeights } from '../../engine/model/open-model.js'
import { DEFAULT_PACKAGED_MODEL, findPackagedModel } from '../../engine/model/python-package.js'
import { InProcessCore } from '../support/in-process-core.js'

interface Goldens {
  readonly fileName: string
  readonly cases: readonly {
    readonly question: string
    readonly promptTokenIds: readonly number[]
    readonly ids: readonly number[]
  }[]
}

const goldens = JSON.parse(readFileSync('test/fixtures/smollm2-goldens.json', 'utf8')) as Goldens

const cacheFolder = readFetchSettings(process.env).ownCache
// Only the packaged file: a snapshot of the hub holds other weights, and so gives other ids.
const path = await findPackagedModel(cacheFolder, DEFAULT_PACKAGED_MODEL)
const skip = path === undefined ? `${goldens.fileName} is not here: kvasir pull fetches it` : false

t.test('the default model answers as transformers does, id for id', { skip }, async (t) => {
  const core = await InProcessCore.load(await openWeights(path!))
  t.teardown(() => core.close())
  const jobs = goldens.cases.map(({ promptTokenIds, ids }) => ({
    promptTokenIds,
    maxTokens: ids.length,
  }))
  const answers = await core.run(jobs)
  for (const [i, { question, ids }] of goldens.cases.entries()) {
    t.ok(ids.length >= 100, 'the answer is long enough to prove something')
    t.strictSame(answers[i]!.ids, ids, question)
  }
})
