import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import t from 'tap'
import { answerBrokenRequest } from '../../server/broken-request.js'

/** What a client reads when its connection is answered with this error. */
async function answerTo(code: string, before = ''): Promise<string> {
  const server = createServer((socket: Socket) => {
    if (before !== '') socket.write(before)
    answerBrokenRequest(Object.assign(new Error('x'), { code }), socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  let text = ''
  client.on('data', (piece) => {
    text += piece
  })
  client.on('error', () => {})
  await once(client, 'close')
  server.close()
  return text
}

t.test('each fault has its status and the usual body', async (t) => {
  for (const [code, status, wireCode] of [
    ['HPE_INVALID_METHOD', 400, 'malformed_request'],
    ['HPE_HEADER_OVERFLOW', 431, 'headers_too_large'],
    ['ERR_HTTP_REQUEST_TIMEOUT', 408, 'request_timeout'],
  ] as const) {
    const text = await answerTo(code)
    const [head, body = ''] = text.split('\r\n\r\n')
    t.match(head, new RegExp(`^HTTP/1\\.1 ${status} [A-Z][\\s\\S]*connection: close$`))
    t.match(head, `content-length: ${Buffer.byteLength(body)}\r\n`)
    t.match(JSON.parse(body), {
      error: { code: wireCode, param: null, type: 'invalid_request_error' },
    })
  }
})

t.test('nothing is written into another answer, nor to a client that is gone', async (t) => {
  t.equal(await answerTo('HPE_INVALID_METHOD', 'half an answ'), 'half an answ')
  t.equal(await answerTo('ECONNRESET'), '')
})
