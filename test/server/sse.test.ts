import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { engineFailed } from '../../engine/errors.js'
import type { Delta } from '../../engine/generate-request.js'
import { toDataFrame } from '../../server/sse.js'
import { type AppUnderTest, chatBody, listen, open, postChat, startApp } from './app-under-test.js'
import { usage } from './engine-double.js'

const finish = { reason: 'stop' } as const

function requestBytes(fields: object = {}): string {
  const body = JSON.stringify(chatBody({ stream: true, ...fields }))
  return [
    'POST /v1/chat/completions HTTP/1.1',
    'host: localhost',
    'content-type: application/json',
    `content-length: ${body.length}`,
    '',
    body,
  ].join('\r\n')
}

/** Deltas without end, until the signal; counts how many were pulled. */
function endless(text: string) {
  const state = { numPulled: 0, isReturned: false }
  async function* deltas(signal: AbortSignal): AsyncIterable<Delta> {
    try {
      while (!signal.aborted) {
        state.numPulled++
        yield { choice: 0, text, numTokens: 1 }
        await sleep(0)
      }
    } finally {
      state.isReturned = true
    }
  }
  return { state, deltas }
}

t.test('a data frame is one line and a blank one', async (t) => {
  t.equal(toDataFrame({ a: 'x\ny' }), 'data: {"a":"x\\ny"}\n\n')
})

t.test('frames come one by one, as they are made', async (t) => {
  const { app, engine } = await startApp(t)
  let release = () => {}
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  engine.script = async function* () {
    yield { choice: 0, text: 'first', numTokens: 1 }
    await gate
    yield { choice: 0, text: 'second', numTokens: 1, finish, usage }
  }
  const socket = await open(await listen(app))
  socket.write(requestBytes())
  let seen = ''
  for await (const piece of socket) {
    seen += piece
    if (seen.includes('first') && !seen.includes('second')) release()
    if (seen.includes('[DONE]')) break
  }
  t.match(seen, /"content":"first"[\s\S]+"content":"second"[\s\S]+data: \[DONE\]\n\n/)
})

t.test('silence is broken by comment lines, also before the first text', async (t) => {
  const { app, engine } = await startApp(t, { keepAliveMs: 20, stallTimeoutMs: 500 })
  engine.script = async function* () {
    await sleep(110)
    yield { choice: 0, text: 'x', numTokens: 1, finish, usage }
  }
  const { body } = await postChat(app, { stream: true })
  const text = String(body.text)
  t.ok(text.split(': keep-alive\n\n').length > 3, 'several came')
  t.match(text, /"role":"assistant"[\s\S]+: keep-alive\n\n[\s\S]+"content":"x"/)
})

t.test('a reader that takes nothing: bounded, then cut off and its request ended', async (t) => {
  const { app, engine } = await startApp(t, { keepAliveMs: 50, stallTimeoutMs: 400 })
  const { state, deltas } = endless('x'.repeat(64 * 1024))
  engine.script = (_request, signal) => deltas(signal)
  const socket = await open(await listen(app))
  socket.pause()
  socket.write(requestBytes())
  await sleep(300)
  const numPulled = state.numPulled
  await sleep(100)
  t.equal(state.numPulled, numPulled, 'nothing is pulled while the socket is full')
  t.ok(
    numPulled * 64 < 16 * 1024,
    `${numPulled} frames of 64 KiB were pulled: what the kernel took`,
  )
  await until(() => engine.signals[0]!.aborted, 5_000)
  t.ok(engine.signals[0]!.aborted, 'the generation was ended')
  await until(() => state.isReturned)
  t.ok(state.isReturned, 'the iterator was returned')
  socket.destroy()
})

t.test('a slow reader that goes on reading is not cut off', async (t) => {
  const { app, engine } = await startApp(t, { keepAliveMs: 50, stallTimeoutMs: 300 })
  const size = 256 * 1024
  engine.script = async function* () {
    for (let i = 0; i < 40; i++) yield { choice: 0, text: 'x'.repeat(size), numTokens: 1 }
    yield { choice: 0, text: '', numTokens: 1, finish, usage }
  }
  const socket = await open(await listen(app))
  socket.write(requestBytes())
  let numBytes = 0
  let tail = ''
  for await (const piece of socket) {
    numBytes += piece.length
    tail = (tail + piece).slice(-100)
    if (tail.includes('[DONE]')) break
    await sleep(5)
  }
  t.ok(numBytes > 40 * size, `${numBytes} bytes`)
  t.notOk(engine.signals[0]!.aborted)
})

t.test('a client that leaves ends its generation', async (t) => {
  const { app, engine, logs } = await startApp(t)
  const { state, deltas } = endless('x')
  engine.script = (_request, signal) => deltas(signal)
  const socket = await open(await listen(app))
  socket.write(requestBytes())
  await until(() => state.numPulled > 3)
  socket.destroy()
  await until(() => state.isReturned)
  t.ok(engine.signals[0]!.aborted)
  await until(() => logs.some((line) => line.msg === 'client left'))
  t.match(
    logs.find((line) => line.msg === 'client left'),
    { status: 499, level: 30 },
  )
})

t.test('a failure after the start is said inside the stream', async (t) => {
  const { app, engine } = await startApp(t)
  for (const [error, code, message] of [
    [engineFailed('The core process ended.'), 'engine_failed', 'The core process ended.'],
    [new Error('secret of /etc/passwd'), 'internal_error', /request id [0-9a-f]{32}/],
  ] as const) {
    engine.script = async function* () {
      yield { choice: 0, text: 'so far', numTokens: 1 }
      throw error
    }
    const { status, body } = await postChat(app, { stream: true })
    const events = String(body.text).split('\n\n')
    t.equal(status, 200)
    t.strictSame(events.slice(-2), ['data: [DONE]', ''])
    const last = JSON.parse(events.at(-3)!.slice('data: '.length))
    t.match(last, { error: { message, type: 'server_error', param: null, code } })
    t.notMatch(String(body.text), /passwd/)
  }
})

t.test('a stream that ends without a finish is an error, not an answer', async (t) => {
  const { app, engine } = await startApp(t)
  engine.script = [{ choice: 0, text: 'x', numTokens: 1 }]
  t.match((await postChat(app, { stream: true })).body.text, /"code":"internal_error"/)
  t.equal((await postChat(app)).status, 500)
})

t.test('many readers at once, each gets its own', async (t) => {
  const under: AppUnderTest = await startApp(t)
  under.engine.script = async function* (request) {
    const [message] = request.prompt.kind === 'chat' ? request.prompt.messages : []
    for (const letter of String(message?.content)) {
      yield { choice: 0, text: letter, numTokens: 1 }
      await sleep(1)
    }
    yield { choice: 0, text: '', numTokens: 0, finish, usage }
  }
  const texts = Array.from({ length: 32 }, (_, i) => `text number ${i} of many`)
  const answers = await Promise.all(
    texts.map((content) =>
      postChat(under.app, { stream: true, messages: [{ role: 'user', content }] }),
    ),
  )
  for (const [i, { body }] of answers.entries()) {
    const pieces = String(body.text).matchAll(/"delta":\{"content":"(.)"\}/g)
    t.equal([...pieces].map(([, letter]) => letter).join(''), texts[i])
  }
})

async function until(isDone: () => boolean, timeoutMs = 2_000): Promise<void> {
  const end = Date.now() + timeoutMs
  while (!isDone() && Date.now() < end) await sleep(5)
}
