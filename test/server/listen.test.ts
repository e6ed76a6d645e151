import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import t from 'tap'
import { ListenError, listen } from '../../server/listen.js'
import { startApp } from './app-under-test.js'

t.test('the address a client on this machine uses', async (t) => {
  for (const [host, url] of [
    ['127.0.0.1', /^http:\/\/127\.0\.0\.1:\d+$/],
    ['0.0.0.0', /^http:\/\/127\.0\.0\.1:\d+$/],
  ] as const) {
    const { app } = await startApp(t)
    const address = await listen(app, { host, port: 0 })
    t.match(address, url)
    t.equal((await fetch(`${address}/health`)).status, 200)
  }
})

t.test('a port in use: a sentence with a port that is free', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.teardown(() => other.close())
  const { port } = other.address() as AddressInfo
  const { app } = await startApp(t)
  const error = await listen(app, { host: '127.0.0.1', port }).catch((error: Error) => error)
  t.ok(error instanceof ListenError)
  const free = Number(/--port (\d+) is free/.exec(String(error))?.[1])
  t.ok(free > 0 && free !== port, `suggested ${free}`)
  const second = await startApp(t)
  t.match(await listen(second.app, { host: '127.0.0.1', port: free }), `:${free}`)
})

t.test('a host that is not of this machine', async (t) => {
  const { app } = await startApp(t)
  await t.rejects(listen(app, { host: '192.0.2.1', port: 0 }), {
    name: 'ListenError',
    message: /192\.0\.2\.1 is not an address of this machine.*--host 127\.0\.0\.1/,
  })
})
