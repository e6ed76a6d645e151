import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { ModelFetchError } from '../../../engine/model/fetch-error.js'
import { Deadline, HttpGet } from '../../../engine/model/http-get.js'
import { refusingUrl } from './support/fetch-context.js'

const TIMEOUTS = { reachMs: 1000, idleMs: 1000, retryDelayMs: 1 }

const server = createServer((request, response) => {
  if (request.url === '/silent') return
  response.writeHead(200)
  if (request.url === '/slow') {
    let numPieces = 0
    const timer = setInterval(() => {
      response.write('x')
      if (++numPieces === 14) response.end()
    }, 100)
    response.on('close', () => clearInterval(timer))
  } else if (request.url === '/hang') response.write('x')
  else response.end('hello')
})
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
t.teardown(() => {
  server.closeAllConnections()
  server.close()
})

async function read(path: string, signal?: AbortSignal): Promise<string> {
  const get = await HttpGet.open(url + path, {}, TIMEOUTS, signal)
  const chunks: Uint8Array[] = []
  try {
    for await (const chunk of get.chunks(signal)) chunks.push(chunk)
  } finally {
    get.close()
  }
  return Buffer.concat(chunks).toString()
}

t.test('a body, also one that takes longer than any timeout but never pauses', async (t) => {
  t.equal(await read('/'), 'hello')
  t.equal(await read('/slow'), 'x'.repeat(14))
})

t.test('a server that says nothing, or stops, is left in time', async (t) => {
  const start = Date.now()
  await t.rejects(read('/silent'), { kind: 'unreachable', message: /did not answer in time/ })
  await t.rejects(read('/hang'), { kind: 'unreachable', message: /did not answer in time/ })
  t.ok(Date.now() - start < 6000)
})

t.test('each failure to connect has its sentence', async (t) => {
  const cases: [string, RegExp][] = [
    [await refusingUrl(), /cannot be reached: the connection was refused/],
    ['http://name.invalid/', /cannot be reached: its name|did not answer in time/],
  ]
  for (const [target, message] of cases) {
    const opened = HttpGet.open(target, {}, { ...TIMEOUTS, reachMs: 5000 })
    await t.rejects(opened, { name: 'ModelFetchError', message }, target)
  }
})

t.test("the caller's abort is no failure of the network", async (t) => {
  const controller = new AbortController()
  const reason = new Error('enough')
  const reading = read('/hang', controller.signal)
  setTimeout(() => controller.abort(reason), 20)
  await t.rejects(reading, reason)
  await t.rejects(read('/', AbortSignal.abort(reason)), reason)
  t.notOk(reason instanceof ModelFetchError)
})

t.test('a deadline passes once, unless it is set anew or cleared', async (t) => {
  const first = new Deadline(20)
  const second = new Deadline(20)
  second.clear()
  const third = new Deadline(20)
  third.restart(10_000)
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.equal(first.hasPassed && first.signal.aborted, true)
  t.equal(second.hasPassed || second.signal.aborted, false)
  t.equal(third.hasPassed, false)
  third.clear()
})
