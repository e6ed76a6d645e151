import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import OpenAI from 'openai'
import type { Test } from 'tap'
import type { EngineSnapshot } from '../../engine/generate-request.js'
import { isAlive, until } from './processes.js'

/** The tiny Llama: 512 tokens, a context of 1024, loaded in a blink. */
export const tinyModel = 'test/fixtures/models/llama-tiny/f32'

const mainPath = fileURLToPath(new URL('../../server/main.js', import.meta.url))
const startTimeoutMs = 30_000

/** `kvasir serve` as a real process on a port of its own. */
export class ServerProcess {
  readonly #child: ChildProcess
  readonly exited: Promise<number | null>
  output = ''
  baseUrl = ''

  constructor(args: readonly string[]) {
    this.#child = spawn(process.execPath, [mainPath, 'serve', '--port', '0', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text
      })
    }
    this.exited = new Promise((resolve) => this.#child.on('exit', (code) => resolve(code)))
  }

  get pid(): number {
    return this.#child.pid!
  }

  get hasExited(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  /** The port is open; the model may still be loading. */
  async waitUntilListening(): Promise<void> {
    await until(() => {
      if (this.hasExited) throw new Error(`the server ended early:\n${this.output}`)
      this.baseUrl = /listens on (http:\S+)/.exec(this.output)?.[1] ?? ''
      return this.baseUrl !== ''
    }, startTimeoutMs)
  }

  async waitUntilReady(): Promise<void> {
    await this.waitUntilListening()
    await until(async () => {
      if (this.hasExited) throw new Error(`the server ended early:\n${this.output}`)
      return (await this.status('/ready')) === 200
    }, startTimeoutMs)
  }

  async status(path: string): Promise<number> {
    const response = await fetch(`${this.baseUrl}${path}`)
    await response.arrayBuffer()
    return response.status
  }

  async state(): Promise<EngineSnapshot> {
    const response = await fetch(`${this.baseUrl}/v1/internal/state`)
    if (!response.ok) throw new Error(`no state: ${response.status} ${await response.text()}`)
    return (await response.json()) as EngineSnapshot
  }

  /** No request runs or waits, and every block is free or cached. */
  async isQuiet(): Promise<boolean> {
    const { numRunning, numWaiting, numUsedBlocks } = await this.state()
    return numRunning + numWaiting + numUsedBlocks === 0
  }

  /** The official client; without retries, so that a test sees what the server said. */
  client(): OpenAI {
    return new OpenAI({ baseURL: `${this.baseUrl}/v1`, apiKey: 'none', maxRetries: 0 })
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }
}

/** Starts a server and waits until it is ready; it is gone when the test is over. */
export async function startServer(
  t: Test,
  args: readonly string[] = [],
  model = tinyModel,
): Promise<ServerProcess> {
  const server = spawnServer(t, args, model)
  await server.waitUntilReady()
  return server
}

/** As startServer, without waiting for anything. */
export function spawnServer(
  t: Test,
  args: readonly string[] = [],
  model = tinyModel,
): ServerProcess {
  const server = new ServerProcess([
    '--model',
    model,
    '--served-model-name',
    'tiny',
    '--expose-internal-state',
    ...args,
  ])
  t.teardown(async () => {
    server.kill('SIGKILL')
    await server.exited
    await until(() => !isAlive(server.pid))
  })
  return server
}
