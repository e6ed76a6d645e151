import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { CoreDriver } from '../../bench/gpu/core-driver.js'
import type { Submission } from '../../engine/frames-to-core.js'
import type { Report } from './report.js'

interface Goldens {
  readonly promptTokenIds: readonly (readonly number[])[]
  readonly answers: Readonly<Record<string, readonly { readonly ids: readonly number[] }[]>>
}

const root = 'test/fixtures/models'
const architectures = ['llama', 'qwen2', 'qwen3'] as const
const folders = ['f32', 'bf16']
const quantised = ['f16', 'q8_0', 'q4_0', 'q4_1']

/** Every fixture in float32, where ids are exact whatever the weights' type: transformers' goldens. */
export async function checkGoldens(report: Report): Promise<void> {
  for (const architecture of architectures) {
    const folder = join(root, `${architecture}-tiny`)
    const goldens = readGoldens(folder)
    for (const type of [...folders, ...quantised]) {
      const modelPath = folders.includes(type)
        ? join(folder, type)
        : join(folder, `${architecture}-tiny-${type}.gguf`)
      const driver = await CoreDriver.start({ modelPath, device: 'cuda', dtype: 'float32' })
      const want = goldens.answers[type]!.map(({ ids }) => ids)
      const jobs = goldens.promptTokenIds.map((ids, row) => ({
        promptTokenIds: Int32Array.from(ids),
        maxTokens: want[row]!.length,
      }))
      const got = (await driver.run(jobs)).map(({ tokenIds }) => tokenIds)
      report.sameIds(got, want, `${architecture}-tiny ${type} in float32 equals transformers`)
      driver.close()
    }
  }
}

const samplings: Readonly<Record<string, Partial<Submission['sampling']>>> = {
  temperature: { temperature: 0.9 },
  'top-k': { temperature: 1.2, topK: 20 },
  'top-p': { temperature: 1, topP: 0.8 },
  'min-p': { temperature: 1.5, minP: 0.05 },
  penalties: {
    temperature: 0.8,
    repetitionPenalty: 1.3,
    frequencyPenalty: 0.5,
    presencePenalty: 0.5,
  },
  everything: { temperature: 1.1, topK: 50, topP: 0.95, minP: 0.01, repetitionPenalty: 1.1 },
}

/** The same seed draws the same ids on CPU and GPU, whichever filters are on. */
export async function checkSampling(report: Report): Promise<void> {
  for (const architecture of architectures) {
    const modelPath = join(root, `${architecture}-tiny`, 'f32')
    const { promptTokenIds } = readGoldens(join(root, `${architecture}-tiny`))
    const shared = { modelPath, dtype: 'float32', kvCacheType: 'float32' } as const
    const cpu = await CoreDriver.start({ ...shared, device: 'cpu' })
    const gpu = await CoreDriver.start({ ...shared, device: 'cuda' })
    for (const [name, sampling] of Object.entries(samplings)) {
      const jobs = promptTokenIds.map((ids, row) => ({
        promptTokenIds: Int32Array.from(ids),
        maxTokens: 48,
        sampling,
        seed: 1000 + row,
      }))
      const [want, got] = [await cpu.run(jobs), await gpu.run(jobs)].map((results) =>
        results.map(({ tokenIds }) => tokenIds),
      )
      report.sameIds(got!, want!, `${architecture}-tiny draws with ${name} as on the CPU`)
    }
    cpu.close()
    gpu.close()
  }
}

function readGoldens(folder: string): Goldens {
  return JSON.parse(readFileSync(join(folder, 'goldens.json'), 'utf8')) as Goldens
}
