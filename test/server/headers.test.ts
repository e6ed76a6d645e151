import t from 'tap'
import { newRequestId } from '../../server/headers.js'
import { chatBody, startApp } from './app-under-test.js'

t.test('ids of ours are random and long', async (t) => {
  const ids = new Set(Array.from({ length: 1000 }, newRequestId))
  t.equal(ids.size, 1000)
  for (const id of ids) t.match(id, /^[0-9a-f]{32}$/)
})

t.test('a sane request id is echoed, another one is not', async (t) => {
  const { app } = await startApp(t)
  const idFor = async (id: string) =>
    (await app.inject({ url: '/health', headers: { 'x-request-id': id } })).headers['x-request-id']
  for (const id of ['a', 'req_1.2-3:4', 'x'.repeat(128)]) t.equal(await idFor(id), id)
  for (const id of ['', 'x'.repeat(129), 'a b', 'é', '<script>', 'a;b', 'a,b']) {
    t.match(await idFor(id), /^[0-9a-f]{32}$/, JSON.stringify(id).slice(0, 20))
  }
})

t.test('headers of every answer: whole, streamed, refused, unknown path', async (t) => {
  const { app } = await startApp(t)
  const url = '/v1/chat/completions'
  for (const request of [
    { url: '/v1/models' },
    { url: '/nothing' },
    { method: 'DELETE', url },
    { method: 'POST', url, payload: chatBody() },
    { method: 'POST', url, payload: chatBody({ n: 5 }) },
    { method: 'POST', url, payload: chatBody({ stream: true }) },
  ] as const) {
    const { headers } = await app.inject(request)
    t.match(headers, {
      'x-request-id': /^[0-9a-f]{32}$/,
      'openai-version': '2020-10-01',
      'openai-processing-ms': /^\d+$/,
      'x-content-type-options': 'nosniff',
    })
    t.notOk(headers['x-powered-by'])
  }
})

t.test('headers of a stream', async (t) => {
  const { app } = await startApp(t)
  const payload = chatBody({ stream: true })
  const { headers } = await app.inject({ method: 'POST', url: '/v1/chat/completions', payload })
  t.match(headers, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    'x-accel-buffering': 'no',
  })
})

t.test('while it drains, connections are closed', async (t) => {
  const { app, gate } = await startApp(t)
  gate.beginDrain()
  t.equal((await app.inject('/health')).headers.connection, 'close')
})
