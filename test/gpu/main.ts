import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { CoreDriver, type CoreSettings } from '../../bench/gpu/core-driver.js'
import { makePrompt } from '../../bench/server/stream-client.js'
import { loadAddon } from '../../engine/core/addon.js'
import { checkGoldens, checkSampling } from './fixtures.js'
import { checkHttpStreams } from './http-streams.js'
import { checkInvariance } from './invariance.js'
import { Report } from './report.js'

/**
 * What only a GPU can prove, from Node down to the kernels. Checkpoints with a vocabulary of 151,936
 * come from make_checkpoint.py; ids for compare_ids.py are written to --ids.
 *
 *   node dist/test/gpu/main.js [--model FOLDER] [--ids FOLDER] [--only fixtures|model|ids|http]
 */
const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    ids: { type: 'string' },
    only: { type: 'string', default: '' },
  },
})
const numIdPrompts = 8
const idPromptLen = 32
const numIds = 128

const report = new Report()
const { fault, devices } = loadAddon().cudaStatus()
if (fault !== null || devices.length === 0) {
  process.stdout.write(`1..0 # skip no GPU can be used: ${fault ?? 'none was found'}\n`)
  process.exit(0)
}
report.note(`on ${devices[0]!.name}`)
const wants = (part: string) => values.only === '' || values.only === part
if (wants('fixtures')) {
  await checkGoldens(report)
  await checkSampling(report)
}
if (values.model !== undefined) {
  const settings = { modelPath: values.model, device: 'cuda', kvCacheBytes: 4e9 } as const
  if (wants('model')) await checkInvariance(report, settings)
  if (wants('ids') && values.ids !== undefined) await writeIds(values.ids, settings)
  if (wants('http')) await checkHttpStreams(report, values.model)
}
process.exit(report.finish())

/** Greedy answers in each number type and each way to round, for the comparison with transformers. */
async function writeIds(folder: string, settings: CoreSettings): Promise<void> {
  const prompts = Array.from({ length: numIdPrompts }, (_, i) => makePrompt(9000 + i, idPromptLen))
  for (const dtype of ['float32', 'bfloat16'] as const) {
    for (const numerics of ['reference', 'fast'] as const) {
      const driver = await CoreDriver.start({ ...settings, dtype, numerics })
      const answers = await driver.idsOf(
        prompts.map((ids) => ({ promptTokenIds: Int32Array.from(ids), maxTokens: numIds })),
      )
      driver.close()
      const path = join(folder, `${dtype}-${numerics}.json`)
      writeFileSync(path, JSON.stringify({ prompts, answers }))
      report.note(`wrote ${path}`)
    }
  }
}
