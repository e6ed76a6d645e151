import { setTimeout as sleep } from 'node:timers/promises'
import type { APIError } from 'openai'
import t, { type Test } from 'tap'
import { askStreamed, type ChatRequest, toParams } from '../support/chat-requests.js'
import { until } from '../support/processes.js'
import { type ServerProcess, startServer } from '../support/server-process.js'
import { newTracePath, readTrace, sumOf, tracedSteps } from '../support/traces.js'

const blockSize = 16
const longContent = Array.from({ length: 560 }, (_, i) => `${i % 10}`).join(' ')

t.test('sixteen equal long prompts at once compute their prefix once', async (t) => {
  const path = newTracePath()
  const server = await startServer(t, ['--trace', path, '--max-tokens-per-step', '128'])
  const client = server.client()
  const params = toParams({ content: longContent, maxTokens: 4 })
  const answers = await Promise.all(
    Array.from({ length: 16 }, () => client.chat.completions.create(params)),
  )
  const numPromptTokens = answers[0]!.usage!.prompt_tokens
  t.ok(numPromptTokens > 800, `${numPromptTokens} tokens`)
  t.equal(new Set(answers.map(({ choices }) => choices[0]!.message.content)).size, 1)
  // All but the last token can be found, in whole blocks.
  const numShared = Math.floor((numPromptTokens - 1) / blockSize) * blockSize
  const cached = answers.map(({ usage }) => usage!.prompt_tokens_details!.cached_tokens!)
  t.same(
    cached.sort((a, b) => a - b),
    [0, ...Array(15).fill(numShared)],
  )
  await stop(t, server)
  const numComputed = sumOf(tracedSteps(readTrace(path)), 'promptTokens')
  t.equal(numComputed, numPromptTokens + 15 * (numPromptTokens - numShared))
})

t.test('prefixes are found among requests with the same salt alone', async (t) => {
  const server = await startServer(t)
  const client = server.client()
  const cachedFor = async (salt?: string) => {
    const extension = salt === undefined ? {} : { cache_salt: salt }
    const params = { ...toParams({ content: longContent, maxTokens: 1 }), ...extension }
    const { usage } = await client.chat.completions.create(params)
    return usage!.prompt_tokens_details!.cached_tokens!
  }
  for (const salt of [undefined, 'one', 'another']) {
    t.equal(await cachedFor(salt), 0, `${salt} finds nothing of the others`)
    t.ok((await cachedFor(salt)) > 800, `${salt} finds its own`)
  }
})

t.test('answers are the same with and without overlap', async (t) => {
  const requests = Array.from({ length: 24 }, (_, i): ChatRequest => {
    const content = `Story ${i % 7}. ${'And then? '.repeat(1 + (i % 5) * 8)}`
    const sampling = i % 2 === 0 ? {} : { temperature: 0.9, seed: i }
    return { content, maxTokens: 20 + ((i * 7) % 50), ignoreEos: i % 3 > 0, ...sampling }
  })
  const answersWith = async (overlap: string) => {
    const server = await startServer(t, ['--overlap', overlap, '--max-sequences', '8'])
    const client = server.client()
    const many = Promise.all(
      requests.slice(0, 6).map((request) => {
        return client.chat.completions.create({ ...toParams(request), seed: 3, n: 3 })
      }),
    )
    const answers = await Promise.all(requests.map((request) => askStreamed(client, request)))
    return [answers, (await many).map(({ choices }) => choices)]
  }
  t.same(await answersWith('on'), await answersWith('off'))
})

t.test('a better priority goes first, whenever it comes', async (t) => {
  const server = await startServer(t, ['--max-sequences', '1'])
  const client = server.client()
  const ask = (maxTokens: number, priority: number) => {
    return client.chat.completions.create({
      ...toParams({ content: `With ${priority}.`, maxTokens }),
      ...{ priority },
    })
  }
  const ahead = Array.from({ length: 8 }, () => ask(950, -8))
  await until(async () => (await server.state()).numWaiting >= 5)
  const order: number[] = []
  const waiting = [7, 0, -7].map((priority) => ask(200, priority).then(() => order.push(priority)))
  await Promise.all([...ahead, ...waiting])
  t.same(order, [-7, 0, 7])
  for (const priority of [-9, 8]) await t.rejects(ask(1, priority), { code: 'invalid_value' })
})

t.test('who waits too long is refused with a status, streamed or not', async (t) => {
  const server = await startServer(t, ['--max-sequences', '1', '--max-queue-ms', '20'])
  const client = server.client()
  const { corePid } = await server.state()
  let hasBegun = false
  const ahead = askStreamed(client, { content: 'Go on and on.', maxTokens: 950 }, undefined, () => {
    // Held still until the others are in line.
    if (!hasBegun) process.kill(corePid, 'SIGSTOP')
    hasBegun = true
  })
  await until(() => hasBegun)
  const params = toParams({ content: 'And me?', maxTokens: 2 })
  const waiting = [false, true].map(async (stream) => {
    const late = client.chat.completions.create({ ...params, stream })
    const error = await late.then(
      () => undefined,
      (reason: APIError) => reason,
    )
    t.match(error, { status: 503, code: 'server_overloaded', message: /not begun/ })
    t.equal(error?.headers?.get('retry-after'), '1')
  })
  await sleep(300)
  process.kill(corePid, 'SIGCONT')
  await Promise.all(waiting)
  t.equal((await ahead).numCompletionTokens, 950)
  t.equal((await server.state()).numQueueTimeouts, 2)
})

async function stop(t: Test, server: ServerProcess): Promise<void> {
  server.kill('SIGTERM')
  t.equal(await server.exited, 0)
}
