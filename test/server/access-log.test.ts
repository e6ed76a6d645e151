import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { chatBody, listen, startApp } from './app-under-test.js'

t.test('one line a request: ids, route, status, time, tokens; no text', async (t) => {
  const { app, logs } = await startApp(t)
  const port = await listen(app)
  const response = await fetch(`http://127.0.0.1:${port}/v1/chat/completions?key=secret`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-request-id': 'mine-1' },
    body: JSON.stringify(chatBody({ messages: [{ role: 'user', content: 'private words' }] })),
  })
  await response.text()
  await sleep(20)
  const lines = logs.filter((line) => line.msg === 'request')
  t.equal(lines.length, 1)
  t.match(lines[0], {
    requestId: /^[0-9a-f]{32}$/,
    clientRequestId: 'mine-1',
    method: 'POST',
    route: '/v1/chat/completions',
    status: 200,
    ms: Number,
    promptTokens: 7,
    cachedTokens: 3,
    completionTokens: 2,
  })
  t.notMatch(JSON.stringify(logs), /private|secret|Hel/)
})

t.test('probes are quiet', async (t) => {
  const { app, logs } = await startApp(t)
  const port = await listen(app)
  for (const path of ['/health', '/ready', '/version']) {
    await (await fetch(`http://127.0.0.1:${port}${path}`)).text()
  }
  await sleep(20)
  t.strictSame(
    logs.filter((line) => line.msg === 'request'),
    [],
  )
})
