import { once } from 'node:events'
import t from 'tap'
import type { Delta } from '../../engine/generate-request.js'
import { until } from '../support/processes.js'
import { chatBody, listen, open, startApp } from './app-under-test.js'
import { hello } from './engine-double.js'

function requestBytes(fields: object): string {
  const body = JSON.stringify(chatBody(fields))
  return (
    'POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n' +
    `content-length: ${body.length}\r\n\r\n${body}`
  )
}

t.test('a client that leaves ends all that it asked for over one connection', async (t) => {
  const { app, engine, gate, logs } = await startApp(t)
  engine.script = async function* (_request, signal): AsyncGenerator<Delta> {
    yield { choice: 0, text: 'x', numTokens: 1 }
    await once(signal, 'abort')
    signal.throwIfAborted()
  }
  const socket = await open(await listen(app))
  const streamed = requestBytes({ stream: true })
  socket.write(streamed + streamed + requestBytes({}) + streamed.repeat(12))
  await until(() => engine.signals.length === 15)
  t.equal(gate.numInFlight, 15)
  socket.destroy()
  await until(() => engine.signals.every(({ aborted }) => aborted))
  await until(() => gate.numInFlight === 0)
  t.equal(logs.filter(({ msg }) => msg === 'client left').length, 15)
})

t.test('requests over one connection are answered in their order', async (t) => {
  const { app, engine, gate } = await startApp(t)
  let isReleased = false
  engine.script = async function* (): AsyncGenerator<Delta> {
    if (engine.requests.length === 1) await until(() => isReleased)
    yield* hello
  }
  const socket = await open(await listen(app))
  socket.write(requestBytes({ stream: true }) + requestBytes({}) + requestBytes({ stream: true }))
  await until(() => engine.signals.length === 3)
  isReleased = true
  let text = ''
  for await (const piece of socket) {
    text += piece
    if (text.split('HTTP/1.1 200').length === 4 && text.endsWith('0\r\n\r\n')) break
  }
  t.match(text, /\[DONE\].*"object":"chat.completion",.*\[DONE\]/s)
  await until(() => gate.numInFlight === 0)
  t.notOk(engine.signals.some(({ aborted }) => aborted))
})

t.test('a request that comes while the server closes is refused in our words', async (t) => {
  const { app, engine, gate } = await startApp(t)
  let isReleased = false
  engine.script = async function* (): AsyncGenerator<Delta> {
    await until(() => isReleased)
    yield* hello
  }
  const socket = await open(await listen(app))
  socket.write(requestBytes({ stream: true }))
  await until(() => engine.signals.length === 1)
  gate.beginDrain()
  const closed = app.close()
  socket.write(requestBytes({}))
  await until(() => gate.numInFlight === 2)
  isReleased = true
  let text = ''
  for await (const piece of socket) text += piece
  t.match(text, /\[DONE\].*HTTP\/1\.1 503 .*"code":"shutting_down"/s)
  await closed
})
