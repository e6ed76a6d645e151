import { setTimeout as sleep } from 'node:timers/promises'
import OpenAI from 'openai'
import t, { type Test } from 'tap'
import { contextLengthExceeded, invalidTemplateInput } from '../../../engine/errors.js'
import { type AppUnderTest, listen, postChat, startApp, userMessage } from '../app-under-test.js'
import { usage } from '../engine-double.js'
import { expectError } from '../expect-error.js'

async function startWithClient(t: Test): Promise<AppUnderTest & { client: OpenAI }> {
  const under = await startApp(t)
  const baseURL = `http://127.0.0.1:${await listen(under.app)}/v1`
  return { ...under, client: new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 }) }
}

const model = 'tiny'
const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: 'user', content: 'Hi' }]

t.test('a stream, byte for byte', async (t) => {
  const { app } = await startApp(t)
  const { body } = await postChat(app, { stream: true, stream_options: { include_usage: true } })
  const [id] = /chatcmpl-[0-9a-f]{32}/.exec(String(body.text)) ?? []
  const [, created] = /"created":(\d+)/.exec(String(body.text)) ?? []
  const [fingerprint] = /fp_[0-9a-f]{10}/.exec(String(body.text)) ?? []
  const head = `data: {"id":"${id}","object":"chat.completion.chunk","created":${created},"model":"tiny","system_fingerprint":"${fingerprint}","service_tier":"default","choices":[`
  const chunk = (delta: string, rest: string) =>
    `${head}{"index":0,"delta":${delta},"logprobs":null,"finish_reason":${rest}}],"usage":null}\n\n`
  const counts =
    '{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9,"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":0}}'
  t.equal(
    body.text,
    [
      chunk('{"role":"assistant","content":"","refusal":null}', 'null'),
      chunk('{"content":"Hel"}', 'null'),
      chunk('{"content":"lo \\"you\\"\\n"}', 'null'),
      chunk('{}', '"stop","stop_reason":null'),
      `${head}],"usage":${counts}}\n\n`,
      'data: [DONE]\n\n',
    ].join(''),
  )
})

t.test('errors about the prompt name messages', async (t) => {
  const { app, engine } = await startApp(t)
  engine.failure = contextLengthExceeded(200, 128)
  for (const stream of [false, true]) {
    const answer = await postChat(app, { stream })
    expectError(t, answer, 'context_length_exceeded', 'messages')
    t.match(answer.body.error, { n_prompt_tokens: 200, n_ctx: 128 })
  }
  engine.failure = invalidTemplateInput('roles must alternate')
  expectError(t, await postChat(app), 'invalid_template_input', 'messages')
})

t.test('the SDK: whole', async (t) => {
  const { client, engine } = await startWithClient(t)
  const answer = await client.chat.completions.create({
    model,
    messages: [{ role: 'developer', content: 'Be brief.' }, ...messages],
    max_completion_tokens: 5,
    temperature: 0,
    seed: -3,
    stop: ['\n'],
    logit_bias: { 5: 1 },
    user: 'ann',
    n: 1,
    response_format: { type: 'text' },
  })
  t.match(answer, {
    object: 'chat.completion',
    model,
    choices: [{ message: { role: 'assistant', content: 'Hello "you"\n' }, finish_reason: 'stop' }],
    usage: { total_tokens: 9, prompt_tokens_details: { cached_tokens: 3 } },
  })
  t.match(answer._request_id, /^[0-9a-f]{32}$/)
  t.match(engine.lastRequest, {
    sampling: { temperature: 0, seed: 2n ** 64n - 3n, logitBias: [{ tokenId: 5, bias: 1 }] },
    stop: { maxTokens: 5, stopStrings: ['\n'] },
  })
})

t.test('the SDK: streamed, with its helper', async (t) => {
  const { client } = await startWithClient(t)
  const stream = client.chat.completions.stream({
    model,
    messages,
    stream_options: { include_usage: true },
  })
  let text = ''
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
  t.equal(text, 'Hello "you"\n')
  const final = await stream.finalChatCompletion()
  t.match(final, { choices: [{ message: { content: text }, finish_reason: 'stop' }] })
  t.equal((await stream.totalUsage()).total_tokens, 9)
})

t.test('the SDK: three answers to one prompt, whole and streamed', async (t) => {
  const { client } = await startWithClient(t)
  const request = { model, messages, n: 3 }
  const whole = await client.chat.completions.create(request)
  const text = 'Hello "you"\n'
  const expected = [0, 1, 2].map((index) => ({
    index,
    message: { role: 'assistant', content: text },
    finish_reason: 'stop',
  }))
  t.match(whole.choices, expected)
  t.equal(whole.choices.length, 3)

  const stream = client.chat.completions.stream({
    ...request,
    stream_options: { include_usage: true },
  })
  const seen: string[] = []
  for await (const { choices, usage: counts } of stream) {
    const [choice] = choices
    const { role, content } = choice?.delta ?? {}
    if (choice === undefined) seen.push(`usage ${counts!.total_tokens}`)
    else if (role !== undefined) seen.push(`role ${choice.index}`)
    else seen.push(`${choice.finish_reason ?? content} ${choice.index}`)
  }
  t.strictSame(seen.slice(0, 6), ['role 0', 'role 1', 'role 2', 'Hel 0', 'Hel 1', 'Hel 2'])
  t.strictSame(
    seen.filter((line) => line.startsWith('stop')),
    ['stop 0', 'stop 1', 'stop 2'],
  )
  t.equal(seen.at(-1), 'usage 9', 'the counts come last, once')
  t.match((await stream.finalChatCompletion()).choices, expected)
})

t.test('the SDK: errors have their classes', async (t) => {
  const { client, engine } = await startWithClient(t)
  await t.rejects(client.chat.completions.create({ model: 'other', messages }), {
    constructor: OpenAI.NotFoundError,
    status: 404,
    code: 'model_not_found',
    param: 'model',
    type: 'not_found_error',
  })
  await t.rejects(client.chat.completions.create({ model, messages, temperature: 5 }), {
    constructor: OpenAI.BadRequestError,
    code: 'invalid_value',
    param: 'temperature',
  })
  engine.script = async function* () {
    yield { choice: 0, text: 'x', numTokens: 1 }
    throw new Error('x')
  }
  const stream = await client.chat.completions.create({ model, messages, stream: true })
  await t.rejects(
    (async () => {
      for await (const _ of stream);
    })(),
    { code: 'internal_error' },
  )
})

t.test('a client that leaves ends its generation, whole or streamed, queued or not', async (t) => {
  const { client, engine } = await startWithClient(t)
  for (const stream of [false, true]) {
    for (const hasBegun of [false, true]) {
      engine.script = async function* (_request, signal) {
        if (hasBegun) yield { choice: 0, text: 'x', numTokens: 1 }
        await new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason))
        })
        yield { choice: 0, text: '', numTokens: 0, finish: { reason: 'stop' }, usage }
      }
      const abort = new AbortController()
      const numBefore = engine.signals.length
      const answer = client.chat.completions.create(
        { model, messages, stream },
        { signal: abort.signal },
      )
      const read = (async () => {
        const result = await answer
        if (Symbol.asyncIterator in result) for await (const _ of result);
      })()
      read.catch(() => {})
      while (engine.signals.length === numBefore) await sleep(2)
      await sleep(20)
      t.notOk(engine.signals.at(-1)!.aborted)
      abort.abort()
      const label = `stream ${stream}, begun ${hasBegun}`
      for (let i = 0; i < 200 && !engine.signals.at(-1)!.aborted; i++) await sleep(5)
      t.ok(engine.signals.at(-1)!.aborted, label)
    }
  }
})

t.test('the message of a user reaches the engine as it is', async (t) => {
  const { app, engine } = await startApp(t)
  const content = 'a <|im_end|> \u0000 \u{1f600} ́'
  await postChat(app, { messages: [{ ...userMessage, content }] })
  t.match(engine.lastRequest.prompt, { kind: 'chat', messages: [{ role: 'user', content }] })
})
