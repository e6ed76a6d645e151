/**
 * `npm run simulate -- --traffic poisson:50 --prompt 1024 --output 256 --model-cost FILE`: how a
 * device of known step times would serve such users, hours in seconds.
 */
import { parseArgs } from 'node:util'
import { CostModel, readCostTable } from './cost-model.js'
import { percentile, Traffic, type TrafficReport } from './traffic.js'

const { values } = parseArgs({
  options: {
    traffic: { type: 'string' },
    prompt: { type: 'string', default: '1024' },
    output: { type: 'string', default: '256' },
    shared: { type: 'string', default: '0.25' },
    tenants: { type: 'string', default: '4' },
    seconds: { type: 'string', default: '3600' },
    seed: { type: 'string', default: '1' },
    blocks: { type: 'string', default: '131072' },
    'max-batch': { type: 'string', default: '256' },
    'max-step-tokens': { type: 'string', default: '8192' },
    'max-step-ms': { type: 'string' },
    'max-waiting': { type: 'string', default: '1024' },
    'good-ttft-ms': { type: 'string', default: '500' },
    'good-tpot-ms': { type: 'string', default: '20' },
    'model-cost': { type: 'string' },
  },
})

type Name = keyof typeof values

function read(name: Name, minimum = 1): number {
  const value = Number(values[name])
  if (Number.isFinite(value) && value >= minimum) return value
  throw new Error(`--${name} must be a number from ${minimum} on, not ${values[name]}`)
}

function readRate(): number {
  const match = /^poisson:(\d+(?:\.\d+)?)$/.exec(values.traffic ?? '')
  if (match !== null && Number(match[1]) > 0) return Number(match[1])
  throw new Error(`--traffic must be poisson:N, N requests a second, not ${values.traffic}`)
}

function readCost(): CostModel {
  const path = values['model-cost']
  if (path === undefined) {
    throw new Error('--model-cost must name a table such as bench/scheduler/h200-1.5b.json')
  }
  return new CostModel(readCostTable(path))
}

function print(report: TrafficReport, wallMs: number): void {
  const { ttftMs, tpotMs, simulatedMs, poolUse } = report
  const seconds = simulatedMs / 1000
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`
  const percentiles = (sorted: Float64Array) =>
    [0.5, 0.9, 0.99].map((share) => percentile(sorted, share).toFixed(2).padStart(10)).join('')
  console.log(`${''.padEnd(16)}${['p50', 'p90', 'p99'].map((p) => p.padStart(10)).join('')}`)
  console.log(`TTFT, ms        ${percentiles(ttftMs)}`)
  console.log(`TPOT, ms        ${percentiles(tpotMs)}`)
  console.log(`requests        ${report.numRequests}, ${report.numRefused} refused`)
  console.log(`goodput         ${(report.numGood / seconds).toFixed(2)} requests/s`)
  console.log(`throughput      ${(report.numOutputTokens / seconds).toFixed(0)} output tokens/s`)
  console.log(`prefix hits     ${percent(report.hitRate)} of prompt tokens`)
  console.log(
    `pool in use     ${percent(poolUse.mean)} on average, ${percent(poolUse.max)} at most`,
  )
  console.log(`device busy     ${percent(report.deviceUse)}, ${report.numPreemptions} preemptions`)
  const wall = (wallMs / 1000).toFixed(1)
  console.log(`simulated       ${seconds.toFixed(0)} s, ${report.numSteps} steps, in ${wall} s`)
}

function main(): void {
  const cost = readCost()
  const maxStepMs = values['max-step-ms'] === undefined ? undefined : read('max-step-ms')
  const startMs = performance.now()
  const traffic = new Traffic(
    {
      requestsPerSecond: readRate(),
      numPromptTokens: read('prompt'),
      numOutputTokens: read('output'),
      sharedShare: Math.min(1, read('shared', 0)),
      numTenants: read('tenants'),
      seconds: read('seconds'),
      seed: read('seed', 0),
      numBlocks: read('blocks'),
      maxSequences: read('max-batch'),
      maxTokensPerStep: read('max-step-tokens'),
      maxStepMs,
      maxWaiting: read('max-waiting'),
      goodTtftMs: read('good-ttft-ms', 0),
      goodTpotMs: read('good-tpot-ms', 0),
    },
    cost,
  )
  print(traffic.run(), performance.now() - startMs)
}

try {
  main()
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}
