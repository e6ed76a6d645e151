import t from 'tap'
import { startApp } from '../app-under-test.js'

const allowed = {
  '/v1/chat/completions': 'POST',
  '/v1/completions': 'POST',
  '/v1/models': 'GET',
  '/v1/models/a/b': 'GET',
  '/health': 'GET',
  '/ready': 'GET',
  '/version': 'GET',
} as const

t.test('another method: 405 with allow, before any body is read', async (t) => {
  const { app } = await startApp(t)
  for (const [url, allow] of Object.entries(allowed)) {
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'] as const) {
      if (method === allow) continue
      const hasBody = ['POST', 'PUT', 'PATCH'].includes(method)
      const response = await app.inject({
        method,
        url,
        ...(hasBody && { headers: { 'content-type': 'text/plain' }, payload: '{' }),
      })
      t.equal(response.statusCode, 405, `${method} ${url}`)
      t.equal(response.headers.allow, allow)
      if (method !== 'HEAD') {
        t.match(response.json(), {
          error: { code: 'method_not_allowed', param: null, type: 'invalid_request_error' },
        })
      }
    }
  }
})

t.test('another path: 404, whatever the method and the body', async (t) => {
  const { app } = await startApp(t)
  for (const url of [
    '/',
    '/v1',
    '/v1/',
    '//v1/models',
    '/v1/chat',
    '/V1/models',
    '/v1/models2',
    '/v1/embeddings',
  ]) {
    for (const method of ['GET', 'POST'] as const) {
      const response = await app.inject({
        method,
        url: `${url}?key=secret`,
        ...(method === 'POST' && { headers: { 'content-type': 'text/plain' }, payload: 'x' }),
      })
      t.equal(response.statusCode, 404, `${method} ${url}`)
      t.match(response.json(), { error: { code: 'unknown_url', type: 'not_found_error' } })
      t.notMatch(response.body, /secret/)
    }
  }
})

t.test('a trailing slash is another path', async (t) => {
  const { app } = await startApp(t)
  t.equal((await app.inject('/health/')).statusCode, 404)
})
