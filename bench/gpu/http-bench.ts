import { execFile } from 'node:child_process'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { KvasirServer } from '../server/processes.js'
import type { ClientReport, ClientRequest, ClientSpec } from './http-client.js'

/** What clients saw of a closed loop of streams over loopback. */
export interface HttpFigure {
  readonly numStreams: number
  readonly outputTokensPerSecond: number
  readonly ttftMs: readonly [p50: number, p99: number]
  readonly itlMs: readonly [p50: number, p99: number]
  /** Above 1 where a chunk carried several tokens: ITL is then between chunks. */
  readonly tokensPerChunk: number
}

const clientPath = fileURLToPath(new URL('./http-client.js', import.meta.url))
const maxClients = 6
const promptLen = 256
const maxTokens = 128
const numRequestsPerStream = 5

/** 256 token ids in, 128 out, streamed, greedy: one stream, 64 and 256. */
export async function benchHttp(flags: readonly string[]): Promise<HttpFigure[]> {
  const server = await KvasirServer.start(['--served-model-name', 'bench', ...flags])
  const figures: HttpFigure[] = []
  try {
    await load(server.port, 8, 1, 900_000)
    for (const numStreams of [1, 64, 256]) {
      const report = await load(server.port, numStreams, numRequestsPerStream, numStreams * 2000)
      const figure = summarise(numStreams, report)
      process.stdout.write(`${formatHttpFigure(figure)}\n`)
      figures.push(figure)
    }
  } finally {
    await server.stop()
  }
  return figures
}

export function formatHttpFigure(figure: HttpFigure): string {
  const { numStreams, outputTokensPerSecond, ttftMs, itlMs, tokensPerChunk } = figure
  const rate = Math.round(outputTokensPerSecond).toLocaleString('en-US').padStart(9)
  const pair = ([p50, p99]: readonly [number, number]) => `${p50.toFixed(1)}/${p99.toFixed(1)}`
  return (
    `HTTP ${String(numStreams).padStart(3)} streams ${rate} tok/s  TTFT ${pair(ttftMs)} ms  ` +
    `ITL ${pair(itlMs)} ms  ${tokensPerChunk.toFixed(2)} tokens a chunk`
  )
}

async function load(
  port: number,
  numStreams: number,
  numRequests: number,
  firstSerial: number,
): Promise<readonly ClientRequest[]> {
  const numClients = Math.min(maxClients, numStreams)
  const reports = await Promise.all(
    Array.from({ length: numClients }, (_, i) => {
      const share = Math.floor(numStreams / numClients) + (i < numStreams % numClients ? 1 : 0)
      const spec: ClientSpec = {
        port,
        model: 'bench',
        numStreams: share,
        numRequestsPerStream: numRequests,
        promptLen,
        maxTokens,
        firstSerial: firstSerial + i * 100_000,
      }
      return runClient(spec)
    }),
  )
  return reports.flatMap(({ requests }) => requests)
}

async function runClient(spec: ClientSpec): Promise<ClientReport> {
  const options = { maxBuffer: 2 ** 30 }
  const args = [clientPath, JSON.stringify(spec)]
  const { stdout } = await promisify(execFile)(process.execPath, args, options)
  return JSON.parse(stdout) as ClientReport
}

function summarise(numStreams: number, requests: readonly ClientRequest[]): HttpFigure {
  const beginMs = Math.min(...requests.map(({ sentAtMs }) => sentAtMs))
  const ends = requests.map(({ sentAtMs, arrivalsMs }) => sentAtMs + arrivalsMs.at(-1)!)
  const numTokens = requests.reduce((sum, request) => sum + request.numTokens, 0)
  const numChunks = requests.reduce((sum, { arrivalsMs }) => sum + arrivalsMs.length, 0)
  const gaps = requests.flatMap(({ arrivalsMs }) =>
    arrivalsMs.slice(1).map((atMs, i) => atMs - arrivalsMs[i]!),
  )
  let endMs = 0
  for (const end of ends) endMs = Math.max(endMs, end)
  return {
    numStreams,
    outputTokensPerSecond: (1000 * numTokens) / (endMs - beginMs),
    ttftMs: percentiles(requests.map(({ arrivalsMs }) => arrivalsMs[0]!)),
    itlMs: percentiles(gaps),
    tokensPerChunk: numTokens / numChunks,
  }
}

function percentiles(values: readonly number[]): [number, number] {
  const sorted = Float64Array.from(values).sort()
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!
  return [at(0.5), at(0.99)]
}
