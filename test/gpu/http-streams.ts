import process from 'node:process'
import { KvasirServer } from '../../bench/server/processes.js'
import { makePrompt } from '../../bench/server/stream-client.js'
import type { Report } from './report.js'

const numStreams = 256
const promptLen = 256
const maxTokens = 128
const numSolo = 24

interface Ending {
  readonly text: string
  readonly numTokens: number
  /** 'length', an error's code, or 'cut' for a stream that just broke off. */
  readonly how: string
}

/**
 * 256 streams at once over HTTP: none lost, none mixed (each equals its solo run, which batch
 * invariance allows to ask); and with the core killed half-way each ends whole or with an honest
 * error, after which the server answers again by itself.
 */
export async function checkHttpStreams(report: Report, modelPath: string): Promise<void> {
  const flags = ['--model', modelPath, '--served-model-name', 'm', '--device', 'cuda']
  const more = ['--batch-invariant', '--max-queued-requests', '1000', '--expose-internal-state']
  const server = await KvasirServer.start([...flags, ...more])
  try {
    const solo: Ending[] = []
    for (let i = 0; i < numSolo; i++) solo.push(await stream(server.port, i))
    const crowd = await streamAll(server.port, 0)
    const whole = crowd.filter(({ how, numTokens }) => how === 'length' && numTokens === maxTokens)
    report.ok(whole.length === numStreams, `${whole.length} of ${numStreams} streams came whole`)
    const numSame = solo.filter(({ text }, i) => crowd[i]!.text === text).length
    report.ok(numSame === numSolo, `${numSame} of ${numSolo} equal their solo run`)
    const distinct = new Set(crowd.map(({ text }) => text)).size
    report.ok(distinct === numStreams, `${distinct} different answers to different prompts`)
    await checkKill(report, server)
  } finally {
    await server.stop()
  }
}

async function checkKill(report: Report, server: KvasirServer): Promise<void> {
  const pid = Number((await server.fetchJson('/v1/internal/state')).corePid)
  const killed = streamAll(server.port, 1000)
  await new Promise((done) => setTimeout(done, 900))
  process.kill(pid, 'SIGKILL')
  const endings = await killed
  const count = (how: (ending: Ending) => boolean) => endings.filter(how).length
  const numWhole = count(({ how, numTokens }) => how === 'length' && numTokens === maxTokens)
  const numErrors = count(({ how }) => how === 'engine_failed')
  report.ok(
    numWhole + numErrors === numStreams && numErrors > 0,
    'with the core killed each stream ends whole or with an error',
    `${numWhole} whole, ${numErrors} with engine_failed, ${count(({ how }) => how === 'cut')} cut`,
  )
  const after = await stream(server.port, 5000)
  report.ok(after.how === 'length', 'and the server answers again without a person', after.how)
}

function streamAll(port: number, firstSerial: number): Promise<Ending[]> {
  return Promise.all(Array.from({ length: numStreams }, (_, i) => stream(port, firstSerial + i)))
}

/** Waits out a restart: 503 with Retry-After is an answer that says to come again. */
async function stream(port: number, serial: number): Promise<Ending> {
  const body = JSON.stringify({
    model: 'm',
    prompt: makePrompt(serial, promptLen),
    max_tokens: maxTokens,
    temperature: 0,
    ignore_eos: true,
    stream: true,
    stream_options: { include_usage: true },
  })
  for (;;) {
    const response = await fetch(`http://127.0.0.1:${port}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    })
    if (response.status === 503) {
      await new Promise((done) => setTimeout(done, 200))
      continue
    }
    const text = await response.text().catch(() => '')
    return response.ok ? readEnding(text) : { text, numTokens: 0, how: readCode(text) }
  }
}

function readEnding(events: string): Ending {
  let text = ''
  let numTokens = 0
  let how = 'cut'
  for (const line of events.split('\n')) {
    if (!line.startsWith('data: {')) continue
    const event = JSON.parse(line.slice('data: '.length))
    if (event.error !== undefined) how = event.error.code ?? event.error.type
    text += event.choices?.[0]?.text ?? ''
    how = event.choices?.[0]?.finish_reason ?? how
    numTokens = event.usage?.completion_tokens ?? numTokens
  }
  return { text, numTokens, how }
}

function readCode(body: string): string {
  try {
    return JSON.parse(body).error.code
  } catch {
    return 'cut'
  }
}
