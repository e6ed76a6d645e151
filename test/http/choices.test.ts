import type OpenAI from 'openai'
import type { ChatCompletionCreateParamsNonStreaming } from 'openai/resources/chat/completions'
import t from 'tap'
import { until } from '../support/processes.js'
import { startServer } from '../support/server-process.js'
import { newTracePath, readTrace, sumOf, tracedSteps } from '../support/traces.js'

const request: ChatCompletionCreateParamsNonStreaming = {
  model: 'tiny',
  messages: [{ role: 'user', content: 'Tell me about the sea. '.repeat(12) }],
  max_completion_tokens: 24,
  temperature: 1.5,
  top_p: 1,
  seed: 11,
  n: 3,
}

t.test('three answers, whole and streamed, are the same', async (t) => {
  const server = await startServer(t)
  const client = server.client()
  const whole = await client.chat.completions.create(request)
  t.same(
    whole.choices.map(({ index }) => index),
    [0, 1, 2],
  )
  const texts = whole.choices.map(({ message }) => message.content)
  t.equal(new Set(texts).size, 3, 'each choice draws its own tokens')
  t.ok(whole.usage!.completion_tokens <= 72 && whole.usage!.completion_tokens >= 3)

  const seen = await readStream(client)
  t.same(seen.texts, texts)
  t.same(
    seen.finishes,
    whole.choices.map(({ finish_reason }) => [finish_reason]),
    'one finish chunk each',
  )
  t.same(seen.numRoles, [1, 1, 1], 'one opening each')
  t.ok(seen.isUsageLast)
  t.equal(seen.usage?.completion_tokens, whole.usage!.completion_tokens)

  // What a choice draws depends on the seed and its number, and on nothing else.
  const alone = await client.chat.completions.create({ ...request, n: 1 })
  t.equal(alone.choices[0]!.message.content, texts[0])
  const greedy = await client.chat.completions.create({ ...request, temperature: 0, n: 2 })
  t.equal(greedy.choices[0]!.message.content, greedy.choices[1]!.message.content)
  const text = await client.completions.create({
    model: 'tiny',
    prompt: 'Once',
    max_tokens: 4,
    n: 3,
  })
  t.same(
    text.choices.map(({ index }) => index),
    [0, 1, 2],
  )
  t.ok(await server.isQuiet())
})

t.test('eight answers share one prefill', async (t) => {
  const path = newTracePath()
  const server = await startServer(t, ['--trace', path, '--max-tokens-per-step', '64'])
  const answer = await server.client().chat.completions.create({ ...request, n: 8 })
  t.equal(answer.choices.length, 8)
  t.equal(answer.usage!.prompt_tokens_details!.cached_tokens, 0)
  server.kill('SIGTERM')
  t.equal(await server.exited, 0)

  const events = readTrace(path)
  const steps = tracedSteps(events)
  const numPromptTokens = answer.usage!.prompt_tokens
  t.ok(numPromptTokens > 2 * 64, `${numPromptTokens} tokens, in several steps`)
  // Each of the others computes the last token of the prompt, to sample what follows it.
  t.equal(sumOf(steps, 'promptTokens'), numPromptTokens + 7)
  t.ok(sumOf(steps, 'blockCopies') <= 7)
  const names = new Set(events.map(({ name }) => name))
  for (const name of ['queue', 'run', 'plan', 'pack', 'device', 'commit', 'send']) {
    t.ok(names.has(name), name)
  }
  const begun = events.filter(({ ph, name }) => ph === 'b' && name === 'queue')
  const ended = events.filter(({ ph, name }) => ph === 'e' && name === 'run')
  t.same([begun.length, ended.length], [8, 8])
})

t.test('a client that leaves ends all of its answers', async (t) => {
  const server = await startServer(t)
  const controller = new AbortController()
  const stream = await server.client().chat.completions.create(
    {
      ...request,
      n: 8,
      max_completion_tokens: 700,
      stream: true,
      ...{ ignore_eos: true },
    },
    { signal: controller.signal },
  )
  for await (const _chunk of stream) break
  controller.abort()
  const ms = await until(() => server.isQuiet())
  t.ok(ms < 500, `blocks back after ${Math.round(ms)} ms`)
})

t.test('more answers than the operator, or the engine, allows', async (t) => {
  const server = await startServer(t, ['--max-n', '5', '--max-sequences', '4'])
  const client = server.client()
  for (const n of [5, 6]) {
    await t.rejects(client.chat.completions.create({ ...request, n }), {
      status: 400,
      param: 'n',
      message: /at most 4 answers/,
    })
  }
  t.equal((await client.chat.completions.create({ ...request, n: 4 })).choices.length, 4)
})

/** Everything a stream says, by choice. */
async function readStream(client: OpenAI) {
  const stream = await client.chat.completions.create({
    ...request,
    stream: true,
    stream_options: { include_usage: true },
  })
  const texts = ['', '', '']
  const finishes: string[][] = [[], [], []]
  const numRoles = [0, 0, 0]
  let usage: OpenAI.CompletionUsage | undefined
  let isUsageLast = false
  for await (const chunk of stream) {
    isUsageLast = chunk.choices.length === 0
    usage = chunk.usage ?? usage
    for (const { index, delta, finish_reason } of chunk.choices) {
      texts[index] += delta.content ?? ''
      if (delta.role !== undefined) numRoles[index]!++
      if (finish_reason !== null) finishes[index]!.push(finish_reason)
    }
  }
  return { texts, finishes, numRoles, usage, isUsageLast }
}
