import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { CostModel, interpolate, readCostTable } from '../../bench/scheduler/cost-model.js'
import { percentile, Traffic, type TrafficOptions } from '../../bench/scheduler/traffic.js'

const cost = new CostModel(readCostTable('bench/scheduler/h200-1.5b.json'))
const options: TrafficOptions = {
  requestsPerSecond: 20,
  numPromptTokens: 512,
  numOutputTokens: 64,
  sharedShare: 0.5,
  numTenants: 2,
  seconds: 20,
  seed: 1,
  numBlocks: 8192,
  maxSequences: 64,
  maxTokensPerStep: 2048,
  maxStepMs: undefined,
  maxWaiting: 100,
  goodTtftMs: 500,
  goodTpotMs: 20,
}

t.test('step times are straight lines between what was measured', async (t) => {
  const curve = [
    [10, 1],
    [20, 3],
    [40, 4],
  ] as const
  t.equal(interpolate(curve, 10), 1)
  t.equal(interpolate(curve, 15), 2)
  t.equal(interpolate(curve, 30), 3.5)
  t.equal(interpolate(curve, 60), 5, 'the last line goes on')
  t.equal(interpolate(curve, 5), 0, 'and the first')
  t.equal(cost.decodeMs(64, 300).toFixed(3), '2.020', 'as measured')
  t.equal(cost.decodeMs(64, 1200).toFixed(3), '2.410', 'half way to the next curve')
})

t.test('a file that is no cost table is refused', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'cost-'))
  const path = join(folder, 'cost.json')
  writeFileSync(path, '{ "prefill": [[1, 2]] }')
  t.throws(() => readCostTable(path), /is no cost table: it must have two or more decode curves/)
  rmSync(folder, { recursive: true })
})

t.test('light traffic is served at the speed of the device', async (t) => {
  const report = new Traffic(options, cost).run()
  t.ok(report.numRequests > 300 && report.numRequests < 500, `${report.numRequests} requests`)
  t.equal(report.numFinished, report.numRequests)
  t.equal(report.numGood, report.numRequests)
  t.ok(report.hitRate > 0.4 && report.hitRate < 0.55, `hits ${report.hitRate}`)
  t.ok(percentile(report.tpotMs, 0.5) > 1.2 && percentile(report.tpotMs, 0.5) < 3)
  t.ok(report.poolUse.max <= 1 && report.poolUse.mean < report.poolUse.max)
  t.same(new Traffic(options, cost).run(), report, 'the same seed, the same report')
})

t.test('more than the device can do is refused at the door, and goodput stays', async (t) => {
  const report = new Traffic({ ...options, requestsPerSecond: 2000, seconds: 5 }, cost).run()
  t.ok(report.numRefused > 1000, `${report.numRefused} refused`)
  t.equal(report.numFinished + report.numRefused, report.numRequests)
  t.ok(report.deviceUse > 0.95)
  t.ok(Number.isNaN(percentile(new Float64Array(0), 0.5)))
})
