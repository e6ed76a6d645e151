import type { AddressInfo } from 'node:net'
import t from 'tap'
import { exchange, listen, startApp } from './app-under-test.js'

const ask = (port: number, host: string, url = '/v1/models') =>
  exchange(port, `GET ${url} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`)

t.test('on a loopback address only names of this machine are served', async (t) => {
  const { app } = await startApp(t, { host: 'Box.lan' })
  const port = await listen(app)
  for (const host of [
    'localhost',
    `LocalHost:${port}`,
    `127.0.0.1:${port}`,
    '10.1.2.3',
    '[::1]',
    `[::1]:${port}`,
    'box.lan:80',
  ]) {
    t.match(await ask(port, host), /^HTTP\/1\.1 200 /, host)
  }
  for (const host of [
    'evil.example',
    `evil.example:${port}`,
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '127.1',
    '[evil.example]',
    'localhost:80:80',
    'a@localhost',
    '',
  ]) {
    for (const url of ['/v1/models', '/health', '/nothing']) {
      const answer = await ask(port, host, url)
      t.match(answer, /^HTTP\/1\.1 403 /, `${host} ${url}`)
      t.match(answer, /"type":"permission_error","param":null,"code":"host_not_allowed"/)
      t.match(answer, /x-request-id: /)
    }
  }
  const old = await exchange(port, 'GET /health HTTP/1.0\r\n\r\n')
  t.match(old, /^HTTP\/1\.1 200 /, 'no host, no browser')
})

t.test('a page that was allowed by name gets no other name in', async (t) => {
  const { app } = await startApp(t, { corsOrigins: ['https://chat.example'] })
  t.match(await ask(await listen(app), 'evil.example'), /^HTTP\/1\.1 403 /)
})

t.test('any name, where every page is let in or other machines are', async (t) => {
  const open = await startApp(t, { corsOrigins: ['*'] })
  t.match(await ask(await listen(open.app), 'evil.example'), /^HTTP\/1\.1 200 /)
  const { app } = await startApp(t)
  await app.listen({ host: '0.0.0.0', port: 0 })
  const { port } = app.server.address() as AddressInfo
  t.match(await ask(port, 'evil.example'), /^HTTP\/1\.1 200 /)
})
