import OpenAI from 'openai'
import t from 'tap'
import { contextLengthExceeded, invalidPrompt } from '../../../engine/errors.js'
import { listen, postCompletion, startApp } from '../app-under-test.js'
import { expectError } from '../expect-error.js'

t.test('a stream, byte for byte', async (t) => {
  const { app } = await startApp(t)
  const { body } = await postCompletion(app, { stream: true })
  const [id] = /cmpl-[0-9a-f]{32}/.exec(String(body.text)) ?? []
  const [, created] = /"created":(\d+)/.exec(String(body.text)) ?? []
  const [fingerprint] = /fp_[0-9a-f]{10}/.exec(String(body.text)) ?? []
  const chunk = (text: string, rest: string) =>
    `data: {"id":"${id}","object":"text_completion","created":${created},"model":"tiny","system_fingerprint":"${fingerprint}","choices":[{"index":0,"text":${text},"logprobs":null,"finish_reason":${rest}}]}\n\n`
  t.equal(
    body.text,
    [
      chunk('"Hel"', 'null'),
      chunk('"lo \\"you\\"\\n"', 'null'),
      chunk('""', '"stop","stop_reason":null'),
      'data: [DONE]\n\n',
    ].join(''),
  )
})

t.test('errors about the prompt name prompt', async (t) => {
  const { app, engine } = await startApp(t)
  engine.failure = contextLengthExceeded(200, 128)
  expectError(t, await postCompletion(app), 'context_length_exceeded', 'prompt')
  engine.failure = invalidPrompt('The prompt has no tokens; send at least one.')
  expectError(t, await postCompletion(app, { prompt: '' }), 'invalid_prompt', 'prompt')
})

t.test('the SDK, with text and with token ids', async (t) => {
  const { app, engine } = await startApp(t)
  const baseURL = `http://127.0.0.1:${await listen(app)}/v1`
  const client = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 })
  const answer = await client.completions.create({ model: 'tiny', prompt: 'Once', max_tokens: 4 })
  t.match(answer, {
    object: 'text_completion',
    choices: [{ text: 'Hello "you"\n', finish_reason: 'stop' }],
    usage: { total_tokens: 9 },
  })
  t.match(engine.lastRequest, { prompt: { kind: 'text', text: 'Once' }, stop: { maxTokens: 4 } })

  const stream = await client.completions.create({ model: 'tiny', prompt: [1, 2, 3], stream: true })
  let text = ''
  for await (const chunk of stream) text += chunk.choices[0]?.text ?? ''
  t.equal(text, 'Hello "you"\n')
  t.strictSame(engine.lastRequest.prompt, { kind: 'tokens', tokenIds: Int32Array.of(1, 2, 3) })
})
