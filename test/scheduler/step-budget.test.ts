import t from 'tap'
import { minChunkTokens, StepBudget } from '../../scheduler/step-budget.js'
import { Random } from './simulation/random.js'

/** Milliseconds of a step: what a device might take. */
interface Device {
  readonly base: number
  readonly perDecode: number
  readonly perToken: number
  /** Per token and token before it: attention over a long prompt. */
  readonly perPair: number
}

/**
 * Prompts of 50 steps, then 50 steps without, while the number of decodes jumps about. Durations
 * come `lag` steps late, as with two steps in flight, and vary by 3 %.
 */
function drive(device: Device, maxStepMs: number, lag: number) {
  const budget = new StepBudget(maxStepMs)
  const random = new Random(3)
  const late: [number, number, number][] = []
  const counts = { numSteps: 0, numOver: 0, worstMs: 0, sumMs: 0 }
  for (let i = 0; i < 4000; i++) {
    const numDecodes = [1, 8, 64, 200, 4, 256, 32, 2, 128, 16][Math.floor(i / 400)]!
    const step = i % 100
    const numTokens = step < 50 ? 0 : Math.min(budget.chunkTokens(numDecodes), 8192 - numDecodes)
    const numBefore = (step - 50) * numTokens
    const { base, perDecode, perToken, perPair } = device
    const exactMs =
      base + perDecode * numDecodes + perToken * numTokens + perPair * numTokens * numBefore
    const ms = exactMs * (0.97 + 0.06 * random.fraction())
    late.push([numDecodes, numTokens, ms])
    if (late.length > lag) budget.observe(...late.shift()!)
    if (numTokens === 0) continue
    counts.numSteps++
    if (ms > maxStepMs) counts.numOver++
    counts.worstMs = Math.max(counts.worstMs, ms)
    counts.sumMs += ms
  }
  return counts
}

t.test('the time is kept, and used, on fast and slow devices', async (t) => {
  const cases: [string, Device, number, number][] = [
    ['a GPU', { base: 1.2, perDecode: 0.01, perToken: 0.01, perPair: 0 }, 8, 1],
    ['long prompts', { base: 1.2, perDecode: 0.01, perToken: 0.01, perPair: 1e-6 }, 8, 1],
    ['a CPU', { base: 5, perDecode: 0.05, perToken: 0.5, perPair: 0 }, 60, 0],
  ]
  for (const [name, device, maxStepMs, lag] of cases) {
    const { numSteps, numOver, worstMs, sumMs } = drive(device, maxStepMs, lag)
    const text = `${name}: ${numOver} of ${numSteps} above, worst ${worstMs.toFixed(1)} ms`
    t.ok(numOver <= 0.02 * numSteps && worstMs < 1.25 * maxStepMs, text)
    const share = sumMs / numSteps / maxStepMs
    t.ok(share > 0.85, `${name}: ${(100 * share).toFixed(0)} % of the time is used`)
  }
})

t.test('a prompt gets on even where decodes alone take longer than was promised', async (t) => {
  const budget = new StepBudget(2)
  for (let i = 0; i < 50; i++) budget.observe(16, minChunkTokens, 9)
  t.equal(budget.chunkTokens(16), minChunkTokens)
})

t.test('without a promise, or nobody to promise it to, there is no bound', async (t) => {
  t.equal(new StepBudget(Number.POSITIVE_INFINITY).chunkTokens(7), Number.POSITIVE_INFINITY)
  t.equal(new StepBudget(5).chunkTokens(0), Number.POSITIVE_INFINITY)
})

t.test('the first chunk is small, and a chunk at most doubles', async (t) => {
  const budget = new StepBudget(1000)
  const first = budget.chunkTokens(1)
  t.equal(first, 4 * minChunkTokens)
  budget.observe(1, first, 1)
  t.equal(budget.chunkTokens(1), 2 * first)
  budget.observe(1, 3, 1)
  t.equal(budget.chunkTokens(1), 2 * first, 'a short prompt teaches little')
})

t.test('a step that took too long is answered at once', async (t) => {
  const budget = new StepBudget(10)
  for (let i = 0; i < 10; i++) budget.observe(1, budget.chunkTokens(1), 2)
  const before = budget.chunkTokens(1)
  budget.observe(1, before, 40)
  t.ok(budget.chunkTokens(1) <= before / 4)
  const after = budget.chunkTokens(1)
  budget.observe(0, 5000, 400)
  t.equal(budget.chunkTokens(1) <= after, true, 'a step without decodes had no promise to break')
  budget.observe(1, 0, 400)
  t.ok(budget.chunkTokens(1) >= minChunkTokens)
})

// All by hand: 16 decodes are a unit and so are 16 tokens; a prediction is off by `error`, of which
// half is learnt, shared out by 1 + units of decodes squared + units of tokens squared.
t.test('what a step teaches is shared out among base, decodes and tokens', async (t) => {
  t.equal(minChunkTokens, 16)
  const budget = new StepBudget(120)
  // The first chunk is believed whole: 102 / (1 + 1 + 100) = 1, so base 1, decodes 1, tokens 10.
  budget.observe(16, 160, 102)
  t.equal(budget.chunkTokens(16), 169, '(108 - 2) / 10 units')
  // 4 too long: 0.5 * 4 / (1 + 1) = 1, so base 2, decodes 2.
  budget.observe(16, 0, 6)
  t.equal(budget.chunkTokens(16), 166, '(108 - 4) / 10 units')
  t.equal(budget.chunkTokens(32), 163, '(108 - 6) / 10 units')
  // As long as was promised is not too long: 120 / 102 = 1.176, and the next chunk may be longer.
  const exact = new StepBudget(120)
  exact.observe(16, 160, 120)
  t.equal(exact.chunkTokens(16), 143, '(108 - 2.353) / 11.76 units')
  // 0.5 * 128 / (1 + 1) = 32, so base and decodes 33 more: too long, but not because of a chunk.
  const slow = new StepBudget(120)
  slow.observe(16, 160, 102)
  slow.observe(16, 0, 130)
  t.equal(slow.chunkTokens(16), 67, '(108 - 66) / 10 units')
  // 0.5 * 80 / (1 + 100) = 0.396: longer than was promised, but there was nobody to promise it to.
  const lonely = new StepBudget(120)
  lonely.observe(16, 160, 102)
  lonely.observe(0, 160, 181)
  t.equal(lonely.chunkTokens(16), 121, '(108 - 2.396) / 13.96 units')
  // Twice the time: what fits is half of it, and less than the model would allow.
  budget.observe(16, 160, 240)
  t.equal(budget.chunkTokens(16), 80)
})

t.test('no time is negative', async (t) => {
  const budget = new StepBudget(200)
  // 0.5 * 101 / (1 + 100) = 0.5, so base 0.5, decodes 5.
  budget.observe(160, 0, 101)
  // 0.5 * -5.5 / (1 + 1) = -1.375, so decodes 3.625, and base not -0.875.
  budget.observe(16, 0, 0)
  // 101 / (1 + 100) = 1, so base 1, tokens 10.
  budget.observe(0, 160, 101)
  t.equal(budget.chunkTokens(16), 280, '(180 - 1 - 3.625) / 10 units')
})

t.test('a step that takes no time takes back what was learnt, and no more', async (t) => {
  const decodes = new StepBudget(200)
  decodes.observe(0, 0, 200)
  // 0.5 * -100 / (1 + 1) = -25, so base 75, and decodes not -25. Then base 76, tokens 10.
  decodes.observe(16, 0, 0)
  decodes.observe(0, 160, 176)
  t.equal(decodes.chunkTokens(32), 166, '(180 - 76) / 10 units')
  const tokens = new StepBudget(200)
  tokens.observe(0, 0, 200)
  // Believed whole: -100 / (1 + 1) = -50, so base 50, and tokens not -50. Then base 51, tokens 10.
  tokens.observe(0, 16, 0)
  tokens.observe(0, 160, 151)
  t.equal(tokens.chunkTokens(16), 206, '(180 - 51) / 10 units')
})

t.test('until a chunk was measured its cost is not guessed at', async (t) => {
  const budget = new StepBudget(10)
  for (let i = 0; i < 5; i++) budget.observe(16, 0, 500)
  t.equal(budget.chunkTokens(16), 4 * minChunkTokens)
})
