import { type BenchJob, CoreDriver, type CoreSettings } from '../../bench/gpu/core-driver.js'
import { makePrompt } from '../../bench/server/stream-client.js'
import type { Report } from './report.js'

const numPrompts = 8
const promptLen = 150
const maxTokens = 64

/**
 * With batch invariance on, an answer's ids do not depend on what else was computed, how the prompt
 * was cut, what was found in the cache, or how kernels were launched. Without it, equal batches give
 * equal ids.
 */
export async function checkInvariance(report: Report, settings: CoreSettings): Promise<void> {
  const jobs = makeJobs(numPrompts, 1)
  const invariant = { ...settings, isBatchInvariant: true }
  const alone = await runWith(invariant, async (driver) => {
    const ids: number[][] = []
    for (const job of jobs) ids.push(...(await driver.idsOf([job])))
    return ids
  })
  const sameAs = (got: readonly number[][], how: string) =>
    report.sameIds(got, alone, `batch-invariant: ${how} equals each alone`)

  await runWith(invariant, async (driver) => {
    const crowd = await driver.idsOf([...jobs, ...makeJobs(56, 100)])
    sameAs(crowd.slice(0, numPrompts), 'in a batch of 64')
    sameAs(await driver.idsOf(jobs), 'with a prefix hit')
  })
  for (const maxTokensPerStep of [64, 100, 257]) {
    const ids = await runWith({ ...invariant, maxTokensPerStep }, (driver) => driver.idsOf(jobs))
    sameAs(ids, `in chunks of a ${maxTokensPerStep}-token budget`)
  }
  const direct = await runWith({ ...invariant, useGraphs: false }, (driver) => driver.idsOf(jobs))
  sameAs(direct, 'without CUDA graphs')
  await checkPreemption(invariant, jobs, sameAs)

  await runWith(settings, async (driver) => {
    const batch = makeJobs(24, 500)
    const first = await driver.idsOf(batch)
    // A fresh pool: a prefix hit would be another batch.
    const second = await runWith(settings, (other) => other.idsOf(batch))
    report.sameIds(second, first, 'the same batch gives the same ids on every run')
  })
}

/** A pool that holds half of what the jobs need, so that some are computed twice. */
async function checkPreemption(
  settings: CoreSettings,
  jobs: readonly BenchJob[],
  sameAs: (got: readonly number[][], how: string) => void,
): Promise<void> {
  const probe = await CoreDriver.start(settings)
  const { kvCacheBytes, numBlocks } = probe.ready
  probe.close()
  const blocksForAll = numPrompts * Math.ceil((promptLen + maxTokens) / 16)
  const tight = { kvCacheBytes: Math.floor((kvCacheBytes / numBlocks) * (blocksForAll * 0.85)) }
  await runWith({ ...settings, ...tight }, async (driver) => {
    const ids = await driver.idsOf(jobs)
    sameAs(ids, `after ${driver.numPreemptions} preemptions`)
  })
}

async function runWith<T>(
  settings: CoreSettings,
  body: (driver: CoreDriver) => Promise<T>,
): Promise<T> {
  const driver = await CoreDriver.start(settings)
  try {
    return await body(driver)
  } finally {
    driver.close()
  }
}

function makeJobs(numJobs: number, firstSerial: number): BenchJob[] {
  return Array.from({ length: numJobs }, (_, i) => ({
    promptTokenIds: Int32Array.from(makePrompt(firstSerial + i, promptLen)),
    maxTokens,
  }))
}
