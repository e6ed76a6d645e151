import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { EngineGate } from '../../server/engine-gate.js'
import { drain } from '../../server/shutdown.js'
import { chatBody, listen, open, startApp } from './app-under-test.js'
import { usage } from './engine-double.js'

const finish = { reason: 'stop' } as const

t.test('with nothing to finish it ends at once', async (t) => {
  const { app, gate, engine } = await startApp(t)
  const port = await listen(app)
  // A connection that idles must not hold it up.
  await (await fetch(`http://127.0.0.1:${port}/health`)).text()
  const lines: string[] = []
  const startedAt = performance.now()
  await drain({ app, gate, drainTimeoutMs: 30_000, say: (line) => lines.push(line) }, 'SIGINT')
  t.ok(performance.now() - startedAt < 900, `${performance.now() - startedAt} ms`)
  t.strictSame(lines, ['SIGINT: no request is open, stopping.', 'Stopped.'])
  t.equal(engine.numDrains, 1)
  await t.rejects(fetch(`http://127.0.0.1:${port}/health`))
})

t.test('admitted work is finished, new work is refused meanwhile', async (t) => {
  const { app, gate, engine } = await startApp(t)
  let finishNow = () => {}
  const last = new Promise<void>((resolve) => {
    finishNow = resolve
  })
  engine.script = async function* () {
    yield { choice: 0, text: 'begun', numTokens: 1 }
    await last
    yield { choice: 0, text: ' ended', numTokens: 1, finish, usage }
  }
  engine.drain = async () => {
    await last
    return { numUnfinished: 0 }
  }
  const url = `http://127.0.0.1:${await listen(app)}`
  const post = (fields: object) =>
    fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(chatBody(fields)),
    })
  const streamed = await post({ stream: true })
  const whole = post({})
  await sleep(50)

  const lines: string[] = []
  const drained = drain(
    { app, gate, drainTimeoutMs: 5_000, say: (line) => lines.push(line) },
    'SIGTERM',
  )
  t.strictSame(lines, ['SIGTERM: finishing 2 requests (at most 5 s; once more stops at once).'])
  const refused = await post({})
  t.equal(refused.status, 503)
  t.equal(refused.headers.get('connection'), 'close')
  t.match(await refused.json(), { error: { code: 'shutting_down' } })
  t.equal((await fetch(`${url}/ready`)).status, 503)
  t.equal((await fetch(`${url}/health`)).status, 200)

  finishNow()
  t.match(await streamed.text(), /begun[\s\S]* ended[\s\S]*data: \[DONE\]\n\n$/)
  t.match(await (await whole).json(), { choices: [{ message: { content: 'begun ended' } }] })
  await drained
  t.equal(lines.at(-1), 'Stopped; everything admitted was finished.')
})

t.test(
  'what could not be finished is counted; a reader that hangs does not hang the shutdown',
  async (t) => {
    const { app, gate, engine } = await startApp(t)
    engine.script = async function* () {
      for (;;) yield { choice: 0, text: 'x'.repeat(100_000), numTokens: 1 }
    }
    engine.drain = async () => ({ numUnfinished: 1 })
    const socket = await open(await listen(app))
    socket.pause()
    const body = JSON.stringify(chatBody({ stream: true }))
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    )
    while (gate.numInFlight === 0) await sleep(5)
    const lines: string[] = []
    const startedAt = performance.now()
    await drain({ app, gate, drainTimeoutMs: 10, say: (line) => lines.push(line) }, 'SIGTERM')
    t.ok(performance.now() - startedAt < 8_000)
    t.match(lines[0], /^SIGTERM: finishing 1 request \(/)
    t.equal(lines.at(-1), 'Stopped; 1 request could not be finished.')
    socket.destroy()
  },
)

t.test(
  'the last bytes of an answer reach a reader that is late, and then it ends at once',
  async (t) => {
    const { app, gate, engine } = await startApp(t)
    engine.script = [{ choice: 0, text: 'x'.repeat(16 * 1024 * 1024), numTokens: 1, finish, usage }]
    const socket = await open(await listen(app))
    socket.pause()
    const body = JSON.stringify(chatBody())
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    )
    while (engine.requests.length === 0) await sleep(5)
    await sleep(100)
    let numBytes = 0
    socket.on('data', (piece) => {
      numBytes += piece.length
    })
    socket.pause()
    setTimeout(() => socket.resume(), 500)
    const startedAt = performance.now()
    await drain({ app, gate, drainTimeoutMs: 10, say: () => {} }, 'SIGTERM')
    const ms = performance.now() - startedAt
    t.ok(ms > 450 && ms < 2_500, `${ms} ms`)
    await sleep(50)
    t.ok(numBytes > 16 * 1024 * 1024, `${numBytes} bytes arrived`)
  },
)

t.test('an engine that is not there yet', async (t) => {
  const { app } = await startApp(t)
  const lines: string[] = []
  const say = (line: string) => lines.push(line)
  await drain({ app, gate: new EngineGate(), drainTimeoutMs: 10, say }, 'SIGINT')
  t.equal(lines.at(-1), 'Stopped.')
})

async function runChild(t: Test, env: Record<string, string>) {
  const path = fileURLToPath(new URL('shutdown-child.js', import.meta.url))
  const child = spawn(process.execPath, [path], { env: { ...process.env, ...env } })
  t.teardown(() => child.kill('SIGKILL'))
  let out = ''
  child.stdout.on('data', (piece) => {
    out += piece
  })
  const exit = once(child, 'close').then(([code]) => ({ code, out }))
  while (!out.includes('listening')) await sleep(10)
  return { child, exit }
}

t.test('one signal: drained, exit 0; the same one passed on by npm changes nothing', async (t) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const { child, exit } = await runChild(t, { DRAIN_MS: '300' })
    child.kill(signal)
    await sleep(30)
    child.kill(signal)
    t.match(await exit, {
      code: 0,
      out: new RegExp(`${signal}: no request[\\s\\S]*Stopped\\.\\n$`),
    })
  }
})

t.test('a second signal ends the process now', async (t) => {
  const { child, exit } = await runChild(t, { DRAIN_MS: 'forever' })
  child.kill('SIGINT')
  await sleep(700)
  child.kill('SIGINT')
  t.match(await exit, { code: 1, out: /SIGINT again: stopping now\.\n$/ })
})

t.test('an error nobody caught: said, drained, exit 1', async (t) => {
  const { exit } = await runChild(t, { THROW: '1' })
  t.match(await exit, { code: 1, out: /nobody expects this[\s\S]*Stopped\.\n$/ })
})
