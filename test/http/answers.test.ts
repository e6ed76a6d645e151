import t from 'tap'
import {
  askStreamed,
  askWhole,
  type ChatAnswer,
  type ChatRequest,
} from '../support/chat-requests.js'
import { type ServerProcess, startServer } from '../support/server-process.js'

t.test('streamed and whole answers of the official client are the same', async (t) => {
  const server = await startServer(t, ['--kv-cache-dtype', 'float32'])
  const client = server.client()
  const requests: readonly ChatRequest[] = [
    { content: 'Tell me about the sea.', maxTokens: 70 },
    { content: 'Tell me about the sea.', maxTokens: 70, temperature: 0.8, seed: 11 },
    { content: 'Grüße aus Köln 🙂', maxTokens: 1 },
  ]
  for (const request of requests) {
    const whole = await askWhole(client, request)
    const streamed = await askStreamed(client, request)
    t.same(streamed, whole)
    t.equal(whole.finishReason, 'length')
    t.equal(whole.numCompletionTokens, request.maxTokens)
  }
})

t.test('32 streams of mixed lengths at once equal their solo answers', async (t) => {
  const server = await startServer(t, ['--kv-cache-dtype', 'float32'])
  const client = server.client()
  const requests = Array.from({ length: 32 }, (_, i): ChatRequest => {
    // Every fourth prompt is long; pairs share a beginning, so that prefixes are found.
    const content = `Story ${Math.floor(i / 2)}. ${'And then? '.repeat(i % 4 === 3 ? 40 : 1 + (i % 5))}`
    const maxTokens = 64 + ((i * 7) % 50)
    return i % 2 === 0
      ? { content, maxTokens }
      : { content, maxTokens, temperature: 0.9, seed: 1000 + i }
  })
  const crowd = await Promise.all(requests.map((request) => askStreamed(client, request)))
  const solo = []
  for (const request of requests) solo.push(await askStreamed(client, request))
  for (const [i, answer] of crowd.entries()) t.same(answer, solo[i], `stream ${i}`)

  t.ok(crowd.every(({ numCompletionTokens }, i) => numCompletionTokens === requests[i]!.maxTokens))
  t.ok(new Set(crowd.map(({ text }) => text)).size >= 30, 'the answers differ from each other')
  t.ok(await server.isQuiet())
})

t.test('answers stay the same in a pool so small that sequences are preempted', async (t) => {
  const requests = Array.from({ length: 8 }, (_, i): ChatRequest => {
    return { content: `Count to ${i}.`, maxTokens: 400, temperature: 0.7, seed: i }
  })
  const ample = await startServer(t)
  const expected = await askAll(ample, requests)
  t.equal((await ample.state()).numPreemptions, 0)
  // One answer needs some 27 blocks, so any two that overlap to the end are too much for 40. A
  // block of this model: 2 layers, K and V, 2 heads of 16, 16 tokens, 2 bytes each.
  const numBytes = 40 * (2 * 2 * 2 * 16 * 16 * 2)
  const tight = await startServer(t, ['--kv-cache-bytes', String(numBytes)])
  t.equal((await tight.state()).numBlocks, 40)
  t.same(await askAll(tight, requests), expected)
  t.ok((await tight.state()).numPreemptions > 0)
  t.ok(await tight.isQuiet())
})

function askAll(server: ServerProcess, requests: readonly ChatRequest[]): Promise<ChatAnswer[]> {
  const client = server.client()
  return Promise.all(requests.map((request) => askStreamed(client, request)))
}
