import { readFileSync } from 'node:fs'
import t from 'tap'
import { openWeights } from '../../engine/model/open-model.js'
import { InProcessCore, type Job } from '../support/in-process-core.js'

interface Goldens {
  readonly promptTokenIds: readonly number[][]
  readonly answers: Readonly<Record<string, readonly { readonly ids: readonly number[] }[]>>
}

const root = 'test/fixtures/models'
const architectures = ['llama', 'qwen2', 'qwen3']
const kinds = ['f32', 'bf16', 'f16', 'q8_0', 'q4_0', 'q4_1']

function pathOf(architecture: string, kind: string): string {
  const folder = `${root}/${architecture}-tiny`
  const isHubFolder = kind === 'f32' || kind === 'bf16'
  return isHubFolder ? `${folder}/${kind}` : `${folder}/${architecture}-tiny-${kind}.gguf`
}

for (const architecture of architectures) {
  const goldens = JSON.parse(
    readFileSync(`${root}/${architecture}-tiny/goldens.json`, 'utf8'),
  ) as Goldens

  for (const kind of kinds) {
    t.test(
      `${architecture} ${kind}: greedy ids are transformers', however they are batched`,
      async (t) => {
        const core = await InProcessCore.load(await openWeights(pathOf(architecture, kind)))
        t.teardown(() => core.close())
        const expected = goldens.answers[kind]!.map(({ ids }) => ids)
        const jobs: Job[] = goldens.promptTokenIds.map((promptTokenIds) => ({
          promptTokenIds,
          maxTokens: 64,
        }))
        const idsOf = async (...args: Parameters<InProcessCore['run']>) =>
          (await core.run(...args)).map(({ ids }) => ids)

        for (const [i, job] of jobs.entries()) {
          t.strictSame(await idsOf([job]), [expected[i]], `prompt ${i} alone`)
        }

        const other = jobs.map((job) => ({ ...job, tenant: 1 }))
        const both = [...expected, ...expected]
        t.strictSame(await idsOf([...jobs, ...other]), both, 'in a batch of 16')

        const warm = core.makeScheduler()
        await core.run(jobs, warm)
        const again = await core.run(jobs, warm)
        t.strictSame(
          again.map(({ ids }) => ids),
          expected,
          'after a prefix hit',
        )
        t.ok(
          again.some(({ numCachedTokens }) => numCachedTokens >= 16),
          'a prefix was hit',
        )

        const chunked = core.makeScheduler({ maxTokensPerStep: 7, maxSequences: 5 })
        t.strictSame(await idsOf(jobs, chunked), expected, 'prefilled in chunks of at most 7')

        const crowded = core.makeScheduler({ numBlocks: 18 })
        t.strictSame(await idsOf(jobs, crowded), expected, 'after preemption')
        t.ok(crowded.stats.numPreemptions > 0, 'something was preempted')
      },
    )
  }
}

t.test('a seeded sample is the same alone and in a crowd', async (t) => {
  const core = await InProcessCore.load(await openWeights(pathOf('llama', 'q4_1')))
  t.teardown(() => core.close())
  const jobs: Job[] = Array.from({ length: 12 }, (_, i) => ({
    promptTokenIds: [3 + i, 40, 50 + i],
    maxTokens: 48,
    seed: 1000 + i,
    sampling: { temperature: 0.8, topP: 0.95, topK: i % 2 === 0 ? 40 : 0, frequencyPenalty: 0.3 },
  }))
  const crowd = await core.run(jobs)
  for (const [i, job] of jobs.entries()) {
    const [alone] = await core.run([job])
    t.strictSame(crowd[i]!.ids, alone!.ids, `seed ${job.seed}`)
  }
  const distinct = new Set(crowd.map(({ ids }) => ids.join()))
  t.equal(distinct.size, jobs.length, 'different seeds and prompts give different answers')
})
