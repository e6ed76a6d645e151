import t from 'tap'
import { maxBodyBytes } from '../../server/errors.js'
import { chatBody, exchange, listen, post, startApp } from './app-under-test.js'
import { expectError } from './expect-error.js'

const url = '/v1/chat/completions'
const valid = JSON.stringify(chatBody())

t.test('JSON that is none, over HTTP', async (t) => {
  const { app, engine } = await startApp(t)
  for (const text of [
    '',
    '{',
    '{"a":1,}',
    "{'a':1}",
    '{"a":NaN}',
    '{}{}',
    '[',
    '{"__proto__":{"x":1}}',
    '{"messages":[{"role":"user","content":"x","constructor":{"prototype":{}}}]}',
    '['.repeat(100_000),
    `{"x":${'['.repeat(65)}${']'.repeat(65)}}`,
  ]) {
    expectError(t, await post(app, url, text), 'invalid_json', null, text.slice(0, 40))
  }
  for (const text of ['[]', '5', '"x"', 'null', 'true']) {
    expectError(t, await post(app, url, text), 'invalid_type', null, text)
  }
  t.equal(engine.requests.length, 0)
})

t.test('only application/json is read', async (t) => {
  const { app, engine } = await startApp(t)
  const send = async (type: string | undefined, payload = valid) => {
    const headers = type === undefined ? {} : { 'content-type': type }
    const response = await app.inject({ method: 'POST', url, headers, payload })
    return { status: response.statusCode, body: response.json(), headers: response.headers }
  }
  for (const type of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/jsonx',
    'application/xjson',
    'application/json-seq',
    'application',
    'json',
    'text/json',
    'application/xml, application/json',
    '*/*',
    '\tapplication/ json',
    'application/json/x',
  ]) {
    const answer = await send(type)
    expectError(t, answer, 'unsupported_media_type', null, type)
    t.match(answer.body.error.message, /content-type: application\/json/)
  }
  t.equal(engine.requests.length, 0)
  for (const type of [
    'application/json',
    'application/json; charset=utf-8',
    'Application/JSON',
    'application/json;charset=UTF-8',
    'application/json ; x=y',
  ]) {
    t.equal((await send(type)).status, 200, type)
    t.not((await send(type, '{"messages":5}')).status, 200, `${type}: the body is checked`)
  }
})

t.test('bodies up to the limit', async (t) => {
  const { app } = await startApp(t)
  const filled = (size: number) => valid + ' '.repeat(size - valid.length)
  t.equal((await post(app, url, filled(maxBodyBytes))).status, 200)
  expectError(t, await post(app, url, filled(maxBodyBytes + 1)), 'request_too_large', null)
  expectError(t, await post(app, '/v1/completions', 'x'.repeat(5e6)), 'request_too_large', null)
})

t.test('hostile bodies cost little', async (t) => {
  const { app } = await startApp(t)
  const bodies = [
    `{"messages":[${'{},'.repeat(30_000)}{}]}`,
    `{"messages":[{"role":"user","content":[${'{},'.repeat(30_000)}{}]}]}`,
    `{"messages":[${'5,'.repeat(500_000)}5]}`,
    `{"messages":[],"logit_bias":{${Array.from({ length: 60_000 }, (_, i) => `"${i}":0`).join()}}}`,
    `{"messages":[{"role":"user","content":"x"}],${Array.from({ length: 60_000 }, (_, i) => `"k${i}":0`).join()}}`,
    `{"prompt":[${'1,'.repeat(500_000)}1],"messages":[]}`,
  ]
  for (const body of bodies) {
    const before = process.cpuUsage()
    await post(app, url, body)
    const { user, system } = process.cpuUsage(before)
    // Far above what is needed here, far below what an attack would aim at.
    t.ok(user + system < 400_000, `${body.slice(0, 30)}: ${(user + system) / 1000} ms`)
  }
})

t.test('bytes that are no HTTP request', async (t) => {
  const { app, engine } = await startApp(t)
  const port = await listen(app)
  const head =
    'POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n'
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['not HTTP', 'hello\r\n\r\n', /^HTTP\/1\.1 400 .*malformed_request/s],
    ['no host', 'GET /health HTTP/1.1\r\n\r\n', /^HTTP\/1\.1 400 /],
    [
      'a space in a header name',
      'GET /health HTTP/1.1\r\nho st: x\r\n\r\n',
      /^HTTP\/1\.1 400 .*malformed_request/s,
    ],
    ['NUL in a header', 'GET /health HTTP/1.1\r\nhost: a\0b\r\n\r\n', /^HTTP\/1\.1 400 /],
    [
      'length and chunks',
      `${head}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'two lengths',
      `${head}content-length: 5\r\ncontent-length: 6\r\n\r\nhello`,
      /^HTTP\/1\.1 400 /,
    ],
    ['a negative length', `${head}content-length: -1\r\n\r\n`, /^HTTP\/1\.1 400 /],
    ['a bad chunk', `${head}transfer-encoding: chunked\r\n\r\nzz\r\n`, /^(HTTP\/1\.1 400 .*)?$/s],
    [
      'headers too large',
      `GET /health HTTP/1.1\r\nhost: localhost\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`,
      /^HTTP\/1\.1 431 .*headers_too_large/s,
    ],
    [
      'a length far too large',
      `${head}content-length: 99999999999\r\n\r\n`,
      /^HTTP\/1\.1 413 .*request_too_large/s,
    ],
    [
      'a bad percent sign',
      'GET /%zz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n',
      /^HTTP\/1\.1 400 .*malformed_request/s,
    ],
    [
      'TRACE',
      'TRACE / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n',
      /^HTTP\/1\.1 404 /,
    ],
  ]
  for (const [name, bytes, answer] of cases) {
    t.match(await exchange(port, bytes, /\}$/), answer, name)
  }
  t.equal(engine.requests.length, 0)
  t.equal((await fetch(`http://127.0.0.1:${port}/health`)).status, 200, 'the server goes on')
})

t.test('a body that does not arrive is given up', async (t) => {
  const { app } = await startApp(t)
  app.server.requestTimeout = 200
  const port = await listen(app)
  const text = await exchange(
    port,
    'POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{',
  )
  t.match(text, /^HTTP\/1\.1 408 .*request_timeout/s)
})

t.test('limits of the listening server', async (t) => {
  const { app } = await startApp(t)
  t.match(app.server, {
    maxHeadersCount: 64,
    maxConnections: 4096,
    requestTimeout: 30_000,
    headersTimeout: 10_000,
    keepAliveTimeout: 75_000,
    maxRequestsPerSocket: 10_000,
  })
})

t.test('pages of other origins only where they were allowed', async (t) => {
  const origin = 'https://chat.example'
  const preflight = { 'access-control-request-method': 'POST', origin }
  const closed = await startApp(t)
  const refusedAnswer = await closed.app.inject({ method: 'OPTIONS', url, headers: preflight })
  t.equal(refusedAnswer.statusCode, 405)
  t.notOk(refusedAnswer.headers['access-control-allow-origin'])

  const { app } = await startApp(t, { corsOrigins: [origin] })
  const allowed = await app.inject({ method: 'OPTIONS', url, headers: preflight })
  t.equal(allowed.statusCode, 204)
  t.match(allowed.headers, {
    'access-control-allow-origin': origin,
    'access-control-allow-methods': 'GET, POST',
  })
  const other = await app.inject({ url: '/v1/models', headers: { origin: 'https://evil.example' } })
  t.notOk(other.headers['access-control-allow-origin'])
  for (const [payload, type] of [
    [chatBody({ stream: true }), /^text\/event-stream/],
    [chatBody({ n: 0 }), /^application\/json/],
  ] as const) {
    const answer = await app.inject({ method: 'POST', url, headers: { origin }, payload })
    t.match(answer.headers['content-type'], type)
    t.equal(answer.headers['access-control-allow-origin'], origin, 'streams and errors, too')
    t.match(answer.headers['access-control-expose-headers'], /x-request-id/)
  }
  const open = await startApp(t, { corsOrigins: ['*'] })
  const any = await open.app.inject({
    url: '/v1/models',
    headers: { origin: 'https://any.example' },
  })
  t.equal(any.headers['access-control-allow-origin'], '*')
})
