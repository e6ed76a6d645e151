import { makePrompt } from '../server/stream-client.js'
import { CoreDriver, type CoreSettings, type JobResult } from './core-driver.js'
import { workload } from './workload.js'

/** One line of the report. */
export interface Figure {
  readonly name: string
  /** Tokens a second: generated ones, or prompt tokens for a prefill. */
  readonly tokensPerSecond: number
  /** One decode step, or the whole prefill. */
  readonly ms: number
}

export interface CoreBenchOptions {
  readonly settings: CoreSettings
  /** Only figures whose name holds this. */
  readonly only: string
}

const numOutputTokens = 128
const decodes = [
  { numSequences: 1, promptLen: 512 },
  { numSequences: 1, promptLen: 2048 },
  { numSequences: 8, promptLen: 256 },
  { numSequences: 32, promptLen: 256 },
  { numSequences: 64, promptLen: 256 },
  { numSequences: 128, promptLen: 256 },
  { numSequences: 256, promptLen: 256 },
  { numSequences: 8, promptLen: 2048 },
  { numSequences: 32, promptLen: 2048 },
  { numSequences: 64, promptLen: 2048 },
  { numSequences: 128, promptLen: 2048 },
  { numSequences: 256, promptLen: 2048 },
]
const prefillLens = [512, 1024, 4096]
const numPrefillRounds = 7

let nextSerial = 1

/** Decode, prefill and the offline workload, through scheduler and step thread, by the wall clock. */
export async function benchCore(options: CoreBenchOptions): Promise<Figure[]> {
  const driver = await CoreDriver.start(options.settings)
  const figures: Figure[] = []
  const measure = async (name: string, body: () => Promise<Omit<Figure, 'name'>>) => {
    if (!name.includes(options.only)) return
    const figure = { name, ...(await body()) }
    process.stdout.write(`${formatFigure(figure)}\n`)
    figures.push(figure)
  }
  try {
    await driver.run(makeJobs(4, 300, 16))
    for (const { numSequences, promptLen } of decodes) {
      const name = `decode B=${numSequences} after ${promptLen}`
      await measure(name, () => benchDecode(driver, numSequences, promptLen))
    }
    for (const promptLen of prefillLens) {
      await measure(`prefill ${promptLen}`, () => benchPrefill(driver, promptLen))
    }
    await measure('workload 256 x 100-1024 in and out', () => benchWorkload(driver))
  } finally {
    driver.close()
  }
  return figures
}

export function formatFigure({ name, tokensPerSecond, ms }: Figure): string {
  const rate = Math.round(tokensPerSecond).toLocaleString('en-US')
  return `${name.padEnd(40)} ${rate.padStart(9)} tok/s ${ms.toFixed(3).padStart(10)} ms`
}

/** The window in which all sequences decode: from the last first token to the first last one. */
async function benchDecode(driver: CoreDriver, numSequences: number, promptLen: number) {
  const results = await driver.run(makeJobs(numSequences, promptLen, numOutputTokens))
  const beginMs = Math.max(...results.map(({ arrivalsMs }) => arrivalsMs[0]!))
  const endMs = Math.min(...results.map(({ arrivalsMs }) => arrivalsMs.at(-1)!))
  const numTokens = results.reduce((sum, result) => sum + countBetween(result, beginMs, endMs), 0)
  const seconds = (endMs - beginMs) / 1000
  return {
    tokensPerSecond: numTokens / seconds,
    ms: (1000 * seconds * numSequences) / numTokens,
  }
}

function countBetween({ arrivalsMs }: JobResult, beginMs: number, endMs: number): number {
  return arrivalsMs.filter((atMs) => atMs > beginMs && atMs <= endMs).length
}

/** From the submission to the first token; the median of several prompts that share nothing. */
async function benchPrefill(driver: CoreDriver, promptLen: number) {
  const times: number[] = []
  for (let round = 0; round <= numPrefillRounds; round++) {
    const startMs = performance.now()
    const [result] = await driver.run(makeJobs(1, promptLen, 1))
    if (round > 0) times.push(result!.arrivalsMs[0]! - startMs)
  }
  const ms = times.sort((a, b) => a - b)[Math.floor(times.length / 2)]!
  return { tokensPerSecond: (1000 * promptLen) / ms, ms }
}

async function benchWorkload(driver: CoreDriver) {
  const jobs = workload.promptLens.map((promptLen, i) => ({
    promptTokenIds: Int32Array.from(makePrompt(nextSerial++, promptLen)),
    maxTokens: workload.outputLens[i]!,
  }))
  const startMs = performance.now()
  const results = await driver.run(jobs)
  const ms = performance.now() - startMs
  const numTokens = results.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0)
  return { tokensPerSecond: (1000 * numTokens) / ms, ms }
}

function makeJobs(numJobs: number, promptLen: number, maxTokens: number) {
  return Array.from({ length: numJobs }, () => ({
    promptTokenIds: Int32Array.from(makePrompt(nextSerial++, promptLen)),
    maxTokens,
  }))
}
