/**
 * How long one step costs in the scheduler: schedule + commit with every sequence decoding, for
 * small and large batches and pools. Run it with `node dist/bench/scheduler/scheduler-bench.js`.
 */
import { Scheduler } from '../../scheduler/scheduler.js'

const numMeasured = 2000
const numWarmUps = 500
const promptLen = 33
const blockSize = 16

/** Microseconds of schedule + commit, sorted. */
function measure(numSequences: number, numBlocks: number): Float64Array {
  const scheduler = new Scheduler({
    blockSize,
    numBlocks,
    maxTokensPerStep: 65_536,
    maxSequences: numSequences,
    maxContextLen: 16_384,
    hashSeed: 0x1234_5678,
  })
  const results = new Int32Array(numSequences).fill(1)
  const micros = new Float64Array(numMeasured)
  // A small pool holds few tokens, so the sequences end and are replaced now and then.
  const maxTokens = Math.floor((numBlocks * blockSize) / numSequences) - promptLen - blockSize
  let nextId = 1
  for (let i = 0; i < numWarmUps + numMeasured; ) {
    while (scheduler.stats.numRunning + scheduler.stats.numWaiting < numSequences) {
      const id = nextId++
      // Prompts differ in their first token, hence share no block.
      const promptTokenIds = new Int32Array(promptLen).fill(7)
      promptTokenIds[0] = id
      scheduler.add({
        id,
        tenant: 0,
        promptTokenIds,
        maxTokens: Math.min(maxTokens, 2048),
        minTokens: 0,
        stopTokenIds: new Int32Array([2]),
        ignoreStopTokens: false,
      })
    }
    const start = process.hrtime.bigint()
    const plan = scheduler.schedule()!
    scheduler.commit(plan, results)
    const elapsed = Number(process.hrtime.bigint() - start) / 1000
    // Steps that admit or end sequences are not the steady state that is asked for.
    if (plan.numDecodes !== numSequences) continue
    if (i >= numWarmUps) micros[i - numWarmUps] = elapsed
    i++
  }
  return micros.sort()
}

console.log('schedule + commit, all sequences decoding, blocks of 16 tokens')
console.log('sequences   blocks   median us   p99 us')
for (const numSequences of [64, 256]) {
  for (const numBlocks of [1024, 65_536]) {
    const micros = measure(numSequences, numBlocks)
    const median = micros[numMeasured / 2]!.toFixed(1)
    const p99 = micros[Math.floor(numMeasured * 0.99)]!.toFixed(1)
    const columns = [String(numSequences).padStart(9), String(numBlocks).padStart(8)]
    console.log(`${columns.join(' ')} ${median.padStart(11)} ${p99.padStart(8)}`)
  }
}
