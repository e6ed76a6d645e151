import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { resolve } from 'node:path'
import process from 'node:process'
import { createInterface } from 'node:readline'

const peerFolder = 'build/peers/node-llama-cpp'
const peerVersion = '3.22.1'
const readyTimeoutMs = 120_000

/** Which instructions both may use: all there are, or no more than AVX2. */
export type Isa = 'native' | 'avx2'

/** llama.cpp behind node-llama-cpp, installed on demand: it is no dependency of ours. */
export class Peer {
  readonly #child: ChildProcess
  readonly #answers: AsyncIterator<string>
  readonly systemInfo: string

  private constructor(child: ChildProcess, answers: AsyncIterator<string>, systemInfo: string) {
    this.#child = child
    this.#answers = answers
    this.systemInfo = systemInfo
  }

  static async start(modelPath: string, numThreads: number, isa: Isa): Promise<Peer> {
    const entry = resolve(installPeer(isa), 'node_modules/node-llama-cpp/dist/index.js')
    const args = ['dist/bench/server/llama-cpp-peer.js', entry, modelPath, String(numThreads)]
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'ignore'] })
    const answers = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
    const { systemInfo } = await readAnswer(answers)
    return new Peer(child, answers, String(systemInfo))
  }

  async measure(promptTokenIds: readonly number[], numNewTokens: number) {
    this.#child.stdin!.write(`${JSON.stringify({ promptTokenIds, numNewTokens })}\n`)
    const { prefillMs, decodeMs } = await readAnswer(this.#answers)
    return { prefillMs: Number(prefillMs), decodeMs: Number(decodeMs) }
  }

  stop(): void {
    this.#child.kill()
  }
}

async function readAnswer(answers: AsyncIterator<string>): Promise<Record<string, unknown>> {
  for (;;) {
    const { value, done } = await answers.next()
    if (done) throw new Error('the llama.cpp process ended')
    if (value.startsWith('{')) return JSON.parse(value)
  }
}

/** Returns the folder of an installation that has the kernels of `isa`. */
function installPeer(isa: Isa): string {
  if (!existsSync(`${peerFolder}/node_modules/node-llama-cpp/package.json`)) downloadPeer()
  if (isa === 'native') return peerFolder
  const folder = `${peerFolder}-${isa}`
  if (existsSync(folder)) return folder
  // llama.cpp takes the best of the libraries it finds, so the better ones are taken away.
  const filter = (path: string) => !/linux-x64-(cuda|vulkan)/.test(path)
  cpSync(peerFolder, folder, { recursive: true, filter })
  const binaries = `${folder}/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64`
  for (const name of readdirSync(binaries)) {
    if (/^libggml-cpu-(?!haswell|sandybridge|x64|sse42)/.test(name)) rmSync(`${binaries}/${name}`)
  }
  return folder
}

function downloadPeer(): void {
  mkdirSync(peerFolder, { recursive: true })
  writeFileSync(`${peerFolder}/package.json`, '{"private":true,"type":"module"}\n')
  process.stderr.write(`installing node-llama-cpp ${peerVersion} into ${peerFolder}\n`)
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', peerFolder]
  execFileSync('npm', [...args, `node-llama-cpp@${peerVersion}`], { stdio: ['ignore', 2, 2] })
}

/** Our own server, as a user starts it. */
export class KvasirServer {
  readonly port: number
  readonly startMs: number
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, port: number, startMs: number) {
    this.#child = child
    this.port = port
    this.startMs = startMs
  }

  /** @param viaNpm starts with `npm start --`, to time what a user waits for. */
  static async start(
    flags: readonly string[],
    { isa = 'native', viaNpm = false }: { isa?: Isa; viaNpm?: boolean } = {},
  ): Promise<KvasirServer> {
    const port = await findFreePort()
    const serveFlags = ['--port', String(port), '--log-level', 'warn', ...flags]
    const [program, args] = viaNpm
      ? ['npm', ['start', '--silent', '--', ...serveFlags]]
      : [process.execPath, ['dist/server/main.js', 'serve', ...serveFlags]]
    const startedAt = performance.now()
    const env = isa === 'native' ? process.env : { ...process.env, KVASIR_ISA: isa }
    const child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'inherit'],
      detached: true,
      env,
    })
    await waitUntilReady(port, child)
    return new KvasirServer(child, port, performance.now() - startedAt)
  }

  async fetchJson(path: string): Promise<Record<string, unknown>> {
    return (await fetch(`http://127.0.0.1:${this.port}${path}`)).json() as Promise<
      Record<string, unknown>
    >
  }

  /** The whole group, since npm stands between us and the server. */
  async stop(): Promise<void> {
    const ended = new Promise((done) => this.#child.once('exit', done))
    process.kill(-this.#child.pid!, 'SIGTERM')
    await ended
  }
}

async function waitUntilReady(port: number, child: ChildProcess): Promise<void> {
  const deadline = performance.now() + readyTimeoutMs
  while (performance.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}`)
    const status = await fetch(`http://127.0.0.1:${port}/ready`).then(
      (response) => response.status,
      () => 0,
    )
    if (status === 200) return
    await new Promise((done) => setTimeout(done, 20))
  }
  throw new Error(`the server was not ready within ${readyTimeoutMs} ms`)
}

function findFreePort(): Promise<number> {
  return new Promise((done, fail) => {
    const probe = createServer()
    probe.once('error', fail)
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address()
      probe.close(() => (typeof address === 'object' ? done(address!.port) : fail(address)))
    })
  })
}

/** Resident bytes of a process, from /proc. */
export function readResidentBytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(match?.[1] ?? 0) * 1024
}
