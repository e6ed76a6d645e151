import { execFileSync } from 'node:child_process'
import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { readFetchSettings } from '../../engine/model/fetch-settings.js'
import { DEFAULT_PACKAGED_MODEL, findPackagedModel } from '../../engine/model/python-package.js'
import { resolveModel } from '../../engine/model/resolve-model.js'
import { type Isa, KvasirServer, Peer, readResidentBytes } from './processes.js'
import {
  type BenchResult,
  median,
  percentile,
  readNewestResults,
  type StreamsResult,
  updateReadme,
  writeReport,
} from './report.js'
import { makePrompt, type StreamTimes, streamCompletion } from './stream-client.js'

/**
 * Ours over HTTP against llama.cpp in the same run, on the same file and the same cores. Rounds
 * interleave the two, because a shared machine drifts; medians are reported.
 */
const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'smollm2-135m-instruct' },
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: '2' },
    /** native, or avx2: what machines without AVX-512 and AMX would show. */
    isa: { type: 'string', default: 'native' },
    'force-load': { type: 'boolean', default: false },
  },
})
const numRounds = Number(values.rounds)
const numThreads = Number(values.threads)
const isa: Isa = values.isa === 'avx2' ? 'avx2' : 'native'
const numDecodeTokens = 128
const numPrefillTokens = 512
const concurrencies = [1, 2, 4, 8]
const kvCacheMiB = 192

let serial = 0
const nextPrompt = (numTokens: number) => makePrompt(serial++, numTokens)

if (loadavg()[0]! > 0.5 && !values['force-load']) {
  process.stderr.write(`load average is ${loadavg()[0]!.toFixed(2)}: another program would be `)
  process.stderr.write(
    'measured with us. Wait, or pass --force-load and take the figures as such.\n',
  )
  process.exit(1)
}
const modelPath = await findGgufFile(values.model)
if (!modelPath.endsWith('.gguf')) {
  process.stderr.write(`${modelPath} is not a GGUF file, and llama.cpp reads nothing else.\n`)
  process.exit(1)
}
const result = await run(modelPath)
mkdirSync('bench/results', { recursive: true })
const path = `bench/results/${result.date.slice(0, 10)}-${result.numCores}-cores-${isa}.json`
writeFileSync(path, `${JSON.stringify(result, null, 2)}\n`)
const results = readNewestResults('bench/results')
writeReport(results, 'docs/benchmarks.md')
updateReadme(results, 'README.md')
process.stderr.write(`written: ${path}, docs/benchmarks.md, README.md\n`)

/** The default model's packaged file where it is here, so that both engines read the same bytes. */
async function findGgufFile(name: string): Promise<string> {
  const cacheFolder = readFetchSettings(process.env).ownCache
  const packaged = await findPackagedModel(cacheFolder, DEFAULT_PACKAGED_MODEL)
  if (name === 'smollm2-135m-instruct' && packaged !== undefined) return packaged
  return resolveModel(name, { onProgress: () => {} })
}

async function run(modelPath: string): Promise<BenchResult> {
  const startMs = await measureStart()
  const peer = await Peer.start(modelPath, numThreads, isa)
  const peerAlone = await Peer.start(modelPath, 1, isa)
  const flags = ['--model', modelPath, '--served-model-name', 'bench', '--expose-internal-state']
  flags.push('--threads', String(numThreads), '--kv-cache-bytes', `${kvCacheMiB}MiB`)
  const server = await KvasirServer.start(flags, { isa })
  try {
    const rounds = await measureRounds(server, peer, peerAlone)
    const resident = await measureResident(server)
    return {
      date: new Date().toISOString(),
      commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim(),
      command: `npm run bench -- ${process.argv.slice(2).join(' ')}`.trim(),
      machine: cpus()[0]!.model,
      numCores: cpus().length,
      isa,
      numThreads,
      numRounds,
      model: { name: values.model, numBytes: statSync(modelPath).size },
      peerSystemInfo: peer.systemInfo,
      startMs,
      ...rounds,
      ...resident,
    }
  } finally {
    peer.stop()
    peerAlone.stop()
    await server.stop()
  }
}

/** From `npm start` to /ready, everything cached: median of three. */
async function measureStart(): Promise<number> {
  const times: number[] = []
  for (let i = 0; i < 3; i += 1) {
    const server = await KvasirServer.start(['--model', values.model], { isa, viaNpm: true })
    times.push(server.startMs)
    await server.stop()
  }
  return median(times)
}

/** @param peerAlone llama.cpp with one thread, which is its better count on some machines. */
async function measureRounds(server: KvasirServer, peer: Peer, peerAlone: Peer) {
  const decode = { ours: [] as number[], theirs: [] as number[] }
  const prefill = { ours: [] as number[], theirs: [] as number[] }
  const decodeTheirsOneThread: number[] = []
  const streams: StreamsResult[] = concurrencies.map((numStreams) => ({ numStreams, rounds: [] }))
  for (let round = -1; round < numRounds; round += 1) {
    const theirs = await peer.measure(nextPrompt(8), numDecodeTokens)
    const ours = await stream(server, nextPrompt(8), numDecodeTokens)
    const alone = await peerAlone.measure(nextPrompt(8), numDecodeTokens)
    const theirPrefill = await peer.measure(nextPrompt(numPrefillTokens), 1)
    const ourPrefill = await stream(server, nextPrompt(numPrefillTokens), 1)
    // The first round warms caches and clocks and is not counted.
    if (round < 0) continue
    decode.theirs.push(((numDecodeTokens - 1) / theirs.decodeMs) * 1000)
    decodeTheirsOneThread.push(((numDecodeTokens - 1) / alone.decodeMs) * 1000)
    decode.ours.push(decodeRate(ours))
    prefill.theirs.push((numPrefillTokens / theirPrefill.prefillMs) * 1000)
    prefill.ours.push((numPrefillTokens / ourPrefill.arrivalsMs[0]!) * 1000)
    for (const entry of streams) entry.rounds.push(await measureStreams(server, entry.numStreams))
    process.stderr.write(
      `round ${round + 1}: decode ${decode.ours.at(-1)!.toFixed(0)} against ` +
        `${decode.theirs.at(-1)!.toFixed(0)} (one thread ${decodeTheirsOneThread.at(-1)!.toFixed(0)}) tok/s, prefill ${prefill.ours.at(-1)!.toFixed(0)} ` +
        `against ${prefill.theirs.at(-1)!.toFixed(0)}, 8 streams ` +
        `${streams.at(-1)!.rounds.at(-1)!.tokensPerSecond.toFixed(0)}\n`,
    )
  }
  return { decode, decodeTheirsOneThread, prefill, streams }
}

function stream(server: KvasirServer, promptTokenIds: number[], maxTokens: number) {
  return streamCompletion({ port: server.port, model: 'bench', promptTokenIds, maxTokens })
}

/** Tokens a second between the first and the last arrival. */
function decodeRate({ arrivalsMs, numTokens }: StreamTimes): number {
  return ((numTokens - 1) / (arrivalsMs.at(-1)! - arrivalsMs[0]!)) * 1000
}

async function measureStreams(server: KvasirServer, numStreams: number) {
  const startedAt = performance.now()
  const all = await Promise.all(
    Array.from({ length: numStreams }, () => stream(server, nextPrompt(32), numDecodeTokens)),
  )
  const seconds = (performance.now() - startedAt) / 1000
  const gaps = all.flatMap(({ arrivalsMs }) =>
    arrivalsMs.slice(1).map((t, i) => t - arrivalsMs[i]!),
  )
  return {
    tokensPerSecond: all.reduce((sum, { numTokens }) => sum + numTokens, 0) / seconds,
    ttftMs: median(all.map(({ arrivalsMs }) => arrivalsMs[0]!)),
    itlP50Ms: percentile(gaps, 50),
    itlP99Ms: percentile(gaps, 99),
  }
}

/** Resident bytes of the core once prompts have passed through every KV block. */
async function measureResident(server: KvasirServer) {
  const before = await server.fetchJson('/v1/internal/state')
  const numTokens = Number(before.numBlocks) * 16
  for (let done = 0; done < numTokens * 1.1; done += 1000) {
    await stream(server, nextPrompt(1000), 1)
  }
  const state = await server.fetchJson('/v1/internal/state')
  const kvCacheBytes = kvCacheMiB * 1024 * 1024
  return {
    coreResidentBytes: readResidentBytes(Number(state.corePid)),
    kvCacheBytes,
    numFreeBlocksAfterFill: Number(state.numFreeBlocks),
  }
}
