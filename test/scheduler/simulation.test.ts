import t from 'tap'
import { BlockPool } from '../../scheduler/block-pool.js'
import { Scheduler } from '../../scheduler/scheduler.js'
import { loadPatched, type SchedulerModules } from './simulation/patched-modules.js'
import { plantedBugs } from './simulation/planted-bugs.js'
import { regressionSeeds } from './simulation/regressions/seeds.js'
import { runSeeds } from './simulation/run-seeds.js'
import { simulate } from './simulation/simulator.js'

const modules: SchedulerModules = { Scheduler, BlockPool }
const numSteps = 200_000
const numStepsPerBug = 1_000_000

t.test('200,000 steps over many seeds and configurations', async (t) => {
  const { counts, numSeeds, error } = runSeeds(modules, 1, numSteps)
  t.comment(`${numSeeds} seeds: ${JSON.stringify(counts)}`)
  t.equal(error, undefined)
  t.ok(numSeeds >= 100, `${numSeeds} seeds`)
  // A simulation that never preempts, evicts or aborts would prove nothing about it.
  for (const [name, n] of Object.entries(counts)) t.ok(n >= 5, `${name}: ${n}`)
})

t.test('seeds that failed once', async (t) => {
  for (const { seed, fault } of regressionSeeds) {
    t.doesNotThrow(() => simulate(modules, seed), `seed ${seed}: ${fault}`)
  }
})

t.test('the same seed gives the same log, another seed another', async (t) => {
  const run = (_: unknown, seed: number) => simulate(modules, seed, { numSteps: 50 }).logHash
  const hashes = Array.from({ length: 20 }, run)
  t.same(Array.from({ length: 20 }, run), hashes)
  t.equal(new Set(hashes).size, hashes.length)
})

t.test('one step in flight or two: the same ids for every request', async (t) => {
  let numCompared = 0
  for (let seed = 1; seed <= 40; seed++) {
    const [one, two] = ([1, 2] as const).map((maxStepsInFlight) => {
      const options = { maxStepsInFlight, keepsAnswers: true, numSteps: 200 }
      return simulate(modules, seed, options).answers
    })
    for (const [id, tokenIds] of one!) {
      const other = two!.get(id)
      if (other === undefined) continue
      numCompared++
      if (String(other) !== String(tokenIds)) t.fail(`seed ${seed}, request ${id}`)
    }
  }
  t.ok(numCompared > 500, `${numCompared} requests`)
})

t.test('keys are exact: a mix of three bits gives the same plans', async (t) => {
  const colliding = await loadPatched([
    {
      file: 'block-hash.js',
      find: /return avalanche\(hash\);(?=\s+\})/,
      replace: 'return avalanche(hash) & 7;',
    },
  ])
  for (let seed = 1; seed <= 40; seed++) {
    const expected = simulate(modules, seed, { numSteps: 100 }).logHash
    t.equal(simulate(colliding, seed, { numSteps: 100 }).logHash, expected, `seed ${seed}`)
  }
})

for (const bug of plantedBugs) {
  t.test(`planted bug is caught: ${bug.name}`, async (t) => {
    const broken = await loadPatched(bug.patches)
    // Without the scheduler's own opinion of its state.
    const options = { checksIntegrity: false }
    const { error, counts } = runSeeds(broken, 1, numStepsPerBug, options)
    t.match(error?.message, /^seed \d+, step \d+: .+\nreplay: npm run simulate -- --seed \d+/)
    t.comment(`${counts.numSteps} steps: ${error?.message}`)
  })
}

t.test('a patch that does not apply is refused', async (t) => {
  const patch = { file: 'scheduler.js', find: /no such text/, replace: '' }
  await t.rejects(loadPatched([patch]), { message: /occurs 0 times in scheduler.js, not once/ })
})
