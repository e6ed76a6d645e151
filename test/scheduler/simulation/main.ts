/**
 * `npm run simulate`: simulates the scheduler for as long as it is told to.
 *
 *   --steps N     until N steps were checked, seed after seed (1e6 if left out)
 *   --first N     the first seed
 *   --seed N      this seed alone: replays a failure
 *   --bugs        how many steps it takes to catch each planted bug, as a table
 */
import { execFileSync } from 'node:child_process'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { BlockPool } from '../../../scheduler/block-pool.js'
import { Scheduler } from '../../../scheduler/scheduler.js'
import { loadPatched, type SchedulerModules } from './patched-modules.js'
import { plantedBugs } from './planted-bugs.js'
import { runSeeds } from './run-seeds.js'
import { SimulationError, simulate } from './simulator.js'

const modules: SchedulerModules = { Scheduler, BlockPool }
const msPerProgress = 10_000

function readNumber(name: string, text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= 0) return value
  throw new Error(`--${name} must be an integer such as 1e6, not ${text}`)
}

function commitName(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
  } catch {
    return 'unknown'
  }
}

function reportFailure(error: Error): void {
  console.error(`${error.message}\ncommit: ${commitName()}`)
  console.error((error.cause as Error | undefined)?.stack ?? error.stack)
  process.exitCode = 1
}

function replay(seed: number): void {
  try {
    const { counts, logHash } = simulate(modules, seed)
    console.log(`seed ${seed}: nothing is wrong; log ${(logHash >>> 0).toString(16)}`)
    console.log(JSON.stringify(counts, null, 2))
  } catch (error) {
    if (!(error instanceof SimulationError)) throw error
    reportFailure(error)
  }
}

function runLong(firstSeed: number, numSteps: number): void {
  const startMs = performance.now()
  let lastMs = startMs
  const cpuMs = () => process.cpuUsage().user / 1000
  const describe = (numSeeds: number, done: number) => {
    const wall = Math.round((1000 * done) / (performance.now() - startMs))
    const cpu = Math.round((1000 * done) / cpuMs())
    return `${done} steps, ${numSeeds} seeds, ${wall} steps/s (${cpu} per CPU second)`
  }
  const result = runSeeds(modules, firstSeed, numSteps, {}, (numSeeds, { numSteps: done }) => {
    if (performance.now() - lastMs < msPerProgress) return
    lastMs = performance.now()
    console.log(describe(numSeeds, done))
  })
  console.log(JSON.stringify(result.counts, null, 2))
  console.log(`${describe(result.numSeeds, result.counts.numSteps)}, commit ${commitName()}`)
  if (result.error === undefined) console.log('nothing is wrong')
  else reportFailure(result.error)
}

async function catchBugs(numSteps: number): Promise<void> {
  console.log('| planted bug | caught after | by |\n| --- | ---: | --- |')
  for (const { name, patches } of plantedBugs) {
    const broken = await loadPatched(patches)
    const { error, counts } = runSeeds(broken, 1, numSteps, { checksIntegrity: false })
    const reason = error === undefined ? 'nothing' : (error.cause as Error).message
    console.log(`| ${name} | ${counts.numSteps} | ${reason} |`)
    if (error === undefined) process.exitCode = 1
  }
}

const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '1e6' },
    first: { type: 'string', default: '1' },
    seed: { type: 'string' },
    bugs: { type: 'boolean', default: false },
  },
})
const numSteps = readNumber('steps', values.steps)
if (values.seed !== undefined) replay(readNumber('seed', values.seed))
else if (values.bugs) await catchBugs(numSteps)
else runLong(readNumber('first', values.first), numSteps)
