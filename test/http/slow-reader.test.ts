import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { askStreamed, askWhole, type ChatRequest, toParams } from '../support/chat-requests.js'
import { until } from '../support/processes.js'
import { type ServerProcess, startServer } from '../support/server-process.js'

const request: ChatRequest = { content: 'A long one, please.', maxTokens: 900 }

t.test('a reader that does not read holds up nobody and loses nothing', async (t) => {
  const server = await startServer(t)
  const expected = await askStreamed(server.client(), request)
  const sockets = Array.from({ length: 8 }, () => sendWithoutReading(server))
  await until(async () => (await server.state()).numRunning > 0)
  // The core finishes their answers while not a byte is taken.
  const answer = await askWhole(server.client(), { content: 'Quick one.', maxTokens: 3 })
  t.equal(answer.numCompletionTokens, 3)
  await until(() => server.isQuiet())
  await sleep(200)
  for (const socket of sockets) t.equal(textOf(await readAll(socket)), expected.text)
})

t.test('a reader that is slow gets the same text', async (t) => {
  const server = await startServer(t)
  const expected = await askStreamed(server.client(), request)
  let numPauses = 0
  const slow = await askStreamed(server.client(), request, undefined, async () => {
    if (numPauses++ < 50) await sleep(5)
  })
  t.same(slow, expected)
})

function sendWithoutReading(server: ServerProcess): Socket {
  const { hostname, port } = new URL(server.baseUrl)
  const body = JSON.stringify({ ...toParams(request), stream: true })
  const socket = connect(Number(port), hostname)
  socket.pause()
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: ${hostname}\r\nconnection: close\r\n` +
      `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  )
  return socket
}

async function readAll(socket: Socket): Promise<string> {
  socket.setEncoding('utf8')
  let received = ''
  for await (const text of socket) received += text
  return received
}

/** The text in a raw answer: chunked encoding around server-sent events. */
function textOf(raw: string): string {
  const body = unchunk(raw.slice(raw.indexOf('\r\n\r\n') + 4))
  let text = ''
  for (const line of body.split('\n')) {
    if (!line.startsWith('data: {')) continue
    const chunk = JSON.parse(line.slice('data: '.length)) as {
      choices: { delta: { content?: string } }[]
    }
    text += chunk.choices[0]?.delta.content ?? ''
  }
  return text
}

/** Chunk sizes count bytes, so this works on bytes. */
function unchunk(raw: string): string {
  const bytes = Buffer.from(raw)
  const parts: Buffer[] = []
  let offset = 0
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', offset)
    const size = Number.parseInt(bytes.toString('latin1', offset, lineEnd), 16)
    if (!(size > 0)) return Buffer.concat(parts).toString()
    parts.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size))
    offset = lineEnd + 2 + size + 2
  }
}
