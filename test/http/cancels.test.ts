import { request } from 'node:http'
import t from 'tap'
import type { EngineSnapshot } from '../../engine/generate-request.js'
import { until } from '../support/processes.js'
import { type ServerProcess, startServer } from '../support/server-process.js'

/** `NUM_CANCELS=10000 npm test -- cancels` for a night; a run of a seed repeats its requests. */
const numCancels = Number(process.env.NUM_CANCELS ?? 1000)
const seed = Number(process.env.SEED ?? 1)
const hundred = 100
const numAtOnce = 25

/** When a client left. */
type Stage = 'before the headers' | 'in the stream' | 'not at all'

t.test(`${numCancels} clients that leave at any stage, seed ${seed}`, async (t) => {
  t.setTimeout(60_000 + numCancels * 200)
  // A pool of 64 blocks, so that there are preemptions; chunks of 64 tokens, so that prefills last.
  const numBytes = 64 * (2 * 2 * 2 * 16 * 16 * 2)
  const flags = ['--kv-cache-bytes', `${numBytes}`, '--max-tokens-per-step', '64']
  const server = await startServer(t, [...flags, '--max-sequences', '16'])
  const random = makeRandom(seed)
  const stages = new Map<Stage, number>()
  let numPreemptions = 0
  for (let done = 0; done < numCancels; done += hundred) {
    const requests = Array.from({ length: hundred }, () => drawRequest(random))
    await runAll(requests, async (wanted) => {
      const stage = await ask(server, wanted)
      stages.set(stage, (stages.get(stage) ?? 0) + 1)
    })
    // What somebody sent in the very last moment may still come in.
    await until(async () => isWhole(await server.state()))
    const state = await server.state()
    numPreemptions = state.numPreemptions
    t.equal(state.numCoreRestarts, 0, `whole after ${done + hundred}`)
  }
  t.comment(JSON.stringify({ ...Object.fromEntries(stages), numPreemptions }))
  t.ok(stages.get('before the headers')! > numCancels / 20)
  t.ok(stages.get('in the stream')! > numCancels / 20)
  t.ok(numPreemptions > 0)
})

/** Nobody is inside, and every block is free or only kept for reuse. */
function isWhole(state: EngineSnapshot): boolean {
  const { numRunning, numWaiting, numWaitingTokens, numStepsInFlight, numUsedBlocks } = state
  const numKept = numRunning + numWaiting + numWaitingTokens + numStepsInFlight + numUsedBlocks
  const { numFreeBlocks, numCachedBlocks, numBlocks, numTenants } = state
  return numKept + numTenants === 0 && numFreeBlocks + numCachedBlocks === numBlocks
}

interface CancelledRequest {
  readonly body: object
  /** The client leaves after so long, or after so many pieces of the stream. */
  readonly maxMs: number
  readonly maxPieces: number
}

function drawRequest(random: (below: number) => number): CancelledRequest {
  const content = `${'Shared beginning. '.repeat(random(4) * 6)}${random(10)}${' x'.repeat(random(200))}`
  const body = {
    messages: [{ role: 'user', content }],
    max_tokens: 1 + random(300),
    seed: random(1000),
    ignore_eos: true,
    n: random(3) === 0 ? 1 + random(6) : 1,
    priority: random(16) - 8,
    stream: random(4) > 0,
    ...(random(3) === 0 && { cache_salt: `salt ${random(3)}` }),
    ...(random(4) === 0 && { stop: ['e', 'a'] }),
  }
  const isEarly = random(2) === 0
  return { body, maxMs: isEarly ? random(30) : 50 + random(250), maxPieces: random(40) }
}

/** Some at once, and the next as soon as one is over. */
async function runAll<T>(items: readonly T[], run: (item: T) => Promise<void>): Promise<void> {
  const iterator = items.values()
  const worker = async () => {
    for (const item of iterator) await run(item)
  }
  await Promise.all(Array.from({ length: numAtOnce }, worker))
}

/** A client that leaves by closing its connection. */
function ask(server: ServerProcess, { body, maxMs, maxPieces }: CancelledRequest): Promise<Stage> {
  return new Promise((resolve, reject) => {
    let stage: Stage = 'before the headers'
    let hasLeft = false
    const leave = () => {
      hasLeft = true
      client.destroy()
    }
    const timer = setTimeout(leave, maxMs)
    const options = {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      agent: false,
    }
    const client = request(`${server.baseUrl}/v1/chat/completions`, options, (response) => {
      if (response.statusCode !== 200) reject(new Error(`status ${response.statusCode}`))
      stage = 'in the stream'
      let numPieces = 0
      response.on('data', () => {
        if (++numPieces > maxPieces) leave()
      })
      response.on('end', () => {
        stage = 'not at all'
      })
      response.on('error', () => {})
    })
    client.on('error', (error) => {
      if (!hasLeft) reject(error)
    })
    client.on('close', () => {
      clearTimeout(timer)
      resolve(stage)
    })
    client.end(JSON.stringify(body))
  })
}

/** Mulberry32: small, and the same everywhere. */
function makeRandom(start: number): (below: number) => number {
  let state = start
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let value = Math.imul(state ^ (state >>> 15), state | 1)
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61)
    return ((value ^ (value >>> 14)) >>> 0) % below
  }
}
