import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

export interface StreamRound {
  readonly tokensPerSecond: number
  readonly ttftMs: number
  readonly itlP50Ms: number
  readonly itlP99Ms: number
}

export interface StreamsResult {
  readonly numStreams: number
  readonly rounds: StreamRound[]
}

/** Rates in tokens a second, one per round. */
export interface Pairs {
  readonly ours: readonly number[]
  readonly theirs: readonly number[]
}

export interface BenchResult {
  readonly date: string
  readonly commit: string
  readonly command: string
  readonly machine: string
  readonly numCores: number
  readonly isa: 'native' | 'avx2'
  readonly numThreads: number
  readonly numRounds: number
  readonly model: { readonly name: string; readonly numBytes: number }
  readonly peerSystemInfo: string
  readonly startMs: number
  readonly decode: Pairs
  /** llama.cpp's decode with one thread. */
  readonly decodeTheirsOneThread: readonly number[]
  readonly prefill: Pairs
  readonly streams: readonly StreamsResult[]
  readonly coreResidentBytes: number
  readonly kvCacheBytes: number
  readonly numFreeBlocksAfterFill: number
}

export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const index = Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))
  return sorted[index] ?? Number.NaN
}

export function median(values: readonly number[]): number {
  return percentile(values, 50)
}

const comparisonHead = [
  '| figure | Kvasir | llama.cpp | ratio of medians |',
  '| --- | --- | --- | --- |',
]

/** The newest result of each instruction set, the machine's own first. */
export function readNewestResults(folder: string): BenchResult[] {
  const newest = new Map<string, BenchResult>()
  for (const name of readdirSync(folder).filter((file) => file.endsWith('.json'))) {
    const result = JSON.parse(readFileSync(`${folder}/${name}`, 'utf8')) as BenchResult
    const other = newest.get(result.isa)
    if (other === undefined || other.date < result.date) newest.set(result.isa, result)
  }
  return [...newest.values()].sort((x, y) => (x.isa > y.isa ? -1 : 1))
}

/** Puts the few lines a newcomer looks for between the README's markers. */
export function updateReadme(results: readonly BenchResult[], path: string): void {
  const [start, end] = ['<!-- bench -->', '<!-- /bench -->']
  const text = readFileSync(path, 'utf8')
  const [before, rest] = text.split(start)
  const after = rest?.split(end)[1]
  if (before === undefined || after === undefined) throw new Error(`${path} has no ${start}`)
  const lines = results.flatMap((result) => [
    `${result.model.name} (Q4_1) on ${result.numCores} cores, ${describeKernels(result)}, ${result.date.slice(0, 10)}; ours over HTTP:`,
    '',
    ...comparisonHead,
    ...comparisonRows(result),
    crowdRow(result),
    '',
  ])
  writeFileSync(path, [`${before}${start}`, ...lines, `${end}${after}`].join('\n'))
}

/** Writes the page whole: nobody types a number into it. */
export function writeReport(results: readonly BenchResult[], path: string): void {
  const lines = [
    '# Benchmarks',
    '',
    'Written by `npm run bench`; the raw rounds are in `bench/results/`. Ours goes over HTTP (server, core and client share the',
    'cores); llama.cpp is node-llama-cpp 3.22.1 through its lowest interface, with no HTTP in between, on the same file with as many',
    'threads, batch 512. Rounds of the two interleave; figures are medians with minimum and maximum. Compare within a run only:',
    'a shared machine drifts by a quarter within minutes.',
    '',
    'llama.cpp’s threads meet at a spinning barrier after every operator. Where cores are shared with other guests, a thread that is',
    'not scheduled holds up the other: its decode stays under the 90 tok/s it reaches on quiet cores, and one thread can be faster',
    'than two. So its one-thread rate stands beside it, and the streams count against the better of the two.',
    '',
    'With `--isa avx2` both are kept from using more than AVX2, as on most desktop machines. Without it llama.cpp may use AMX',
    'tiles on activations rounded to 8 bits, where the machine has them; ours are fp32 always',
    '([ADR 3](adr/0003-one-summation-order.md)).',
    ...results.flatMap(resultLines),
    '',
  ]
  writeFileSync(path, lines.join('\n'))
}

function resultLines(result: BenchResult): string[] {
  return [
    '',
    `## ${describeKernels(result)}`,
    '',
    `* Command: \`${result.command}\`, commit ${result.commit}, ${result.date.slice(0, 10)}`,
    `* Machine: ${result.machine}, ${result.numCores} cores, ${result.numThreads} threads`,
    `* Model: ${result.model.name}, ${result.model.numBytes} bytes`,
    `* llama.cpp sees: ${result.peerSystemInfo.replace(/\s+/g, ' ').trim()}`,
    '',
    ...comparisonHead,
    ...comparisonRows(result),
    crowdRow(result),
    '',
    '| streams | tok/s | TTFT p50, ms | ITL p50, ms | ITL p99, ms | over llama.cpp’s single stream |',
    '| --- | --- | --- | --- | --- | --- |',
    ...result.streams.map((entry) => streamsRow(entry, bestSingleStream(result))),
    '',
    '| memory and start | figure | limit |',
    '| --- | --- | --- |',
    residentRow(result),
    `| \`npm start\` to \`/ready\`, everything cached | ${(result.startMs / 1000).toFixed(2)} s | 3 s |`,
  ]
}

function describeKernels({ isa, machine }: BenchResult): string {
  return isa === 'native' ? `${machine}, all its instructions` : `${machine}, both held to AVX2`
}

function bestSingleStream({ decode, decodeTheirsOneThread }: BenchResult): number {
  return Math.max(median(decode.theirs), median(decodeTheirsOneThread))
}

function crowdRow(result: BenchResult): string {
  const { numStreams, rounds } = result.streams.at(-1)!
  const rate = median(rounds.map(({ tokensPerSecond }) => tokensPerSecond))
  const single = bestSingleStream(result)
  const ratio = (rate / single).toFixed(2)
  return `| ${numStreams} streams together, tok/s | ${rate.toFixed(0)} | ${single.toFixed(0)} (one stream) | ${ratio} |`
}

function spread(values: readonly number[]): string {
  const [low, high] = [Math.min(...values), Math.max(...values)]
  return `${median(values).toFixed(0)} (${low.toFixed(0)}–${high.toFixed(0)})`
}

function comparisonRows({ decode, decodeTheirsOneThread, prefill }: BenchResult): string[] {
  return [
    pairRow('decode, one stream, tok/s', decode),
    pairRow('the same, llama.cpp with one thread', {
      ours: decode.ours,
      theirs: decodeTheirsOneThread,
    }),
    pairRow('prefill, 512 tokens, tok/s', prefill),
  ]
}

function pairRow(label: string, { ours, theirs }: Pairs): string {
  const ratio = (median(ours) / median(theirs)).toFixed(2)
  return `| ${label} | ${spread(ours)} | ${spread(theirs)} | ${ratio} |`
}

function streamsRow({ numStreams, rounds }: StreamsResult, singleStream: number): string {
  const of = (key: keyof StreamRound) => median(rounds.map((round) => round[key]))
  const times = ['ttftMs', 'itlP50Ms', 'itlP99Ms'] as const
  const cells = times.map((key) => of(key).toFixed(1)).join(' | ')
  const rate = of('tokensPerSecond')
  return `| ${numStreams} | ${rate.toFixed(0)} | ${cells} | ${(rate / singleStream).toFixed(2)} |`
}

function residentRow(result: BenchResult): string {
  const mib = (numBytes: number) => `${(numBytes / 1024 ** 2).toFixed(0)} MiB`
  const limit = result.model.numBytes + result.kvCacheBytes + 80e6
  return `| core, resident, every KV block touched | ${mib(result.coreResidentBytes)} | ${mib(limit)} (file + KV pool + 80 MB) |`
}
