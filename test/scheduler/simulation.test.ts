import t from 'tap'
import { BlockPool } from '../../scheduler/block-pool.js'
import { Scheduler } from '../../scheduler/scheduler.js'
import { loadPatched, type SchedulerModules } from './simulation/patched-modules.js'
import { plantedBugs } from './simulation/planted-bugs.js'
import { type SimulationCounts, simulate } from './simulation/simulator.js'

const modules: SchedulerModules = { Scheduler, BlockPool }
const numStepsPerSeed = 100
const numSeeds = 400
const minSteps = 20_000

function simulateAll(seeds: number, checksIntegrity = true, tried = modules): SimulationCounts {
  let total: SimulationCounts | undefined
  for (let seed = 1; seed <= seeds; seed++) {
    const { counts } = simulate(tried, seed, numStepsPerSeed, { checksIntegrity })
    if (total === undefined) total = counts
    else
      for (const name of Object.keys(total) as (keyof typeof total)[]) total[name] += counts[name]
  }
  return total!
}

/** The message with which a simulation of at most `seeds` seeds fails, if it does. */
function findFailure(tried: SchedulerModules, seeds: number, checksIntegrity: boolean): string {
  try {
    simulateAll(seeds, checksIntegrity, tried)
    return ''
  } catch (error) {
    return (error as Error).message
  }
}

const { KVASIR_SIM_SEED: replayed } = process.env
if (replayed === undefined) {
  t.test('at least 20,000 steps over many seeds and configurations', async (t) => {
    const counts = simulateAll(numSeeds)
    t.comment(JSON.stringify(counts))
    t.ok(counts.numSteps >= minSteps, `${counts.numSteps} steps`)
    // A simulation that never preempts, evicts or aborts would prove nothing about it.
    for (const [name, n] of Object.entries(counts)) t.ok(n >= 5, `${name}: ${n}`)
  })

  t.test('the same seed gives the same log, another seed another', async (t) => {
    const hashes = Array.from({ length: 20 }, (_, i) => simulate(modules, i, 50).logHash)
    const again = Array.from({ length: 20 }, (_, i) => simulate(modules, i, 50).logHash)
    t.same(again, hashes)
    t.equal(new Set(hashes).size, hashes.length)
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
      const expected = simulate(modules, seed, numStepsPerSeed).logHash
      t.equal(simulate(colliding, seed, numStepsPerSeed).logHash, expected, `seed ${seed}`)
    }
  })

  for (const bug of plantedBugs) {
    t.test(`planted bug is caught: ${bug.name}`, async (t) => {
      const broken = await loadPatched(bug.patches)
      // The second time without the scheduler's own opinion of its state.
      for (const checksIntegrity of [true, false]) {
        const message = findFailure(broken, numSeeds, checksIntegrity)
        t.match(message, /^seed \d+, step \d+: .+\nreplay: KVASIR_SIM_SEED=\d+ node /)
        t.comment(message)
      }
    })
  }

  t.test('a patch that does not apply is refused', async (t) => {
    const patch = { file: 'scheduler.js', find: /no such text/, replace: '' }
    await t.rejects(loadPatched([patch]), { message: /occurs 0 times in scheduler.js, not once/ })
  })
} else {
  const { counts } = simulate(modules, Number(replayed), numStepsPerSeed)
  t.pass(`seed ${replayed}: ${JSON.stringify(counts)}`)
}
