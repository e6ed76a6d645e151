import { readFileSync } from 'node:fs'
import t from 'tap'
import { fieldTable, replaceSection } from '../../../server/reference.js'
import { ChatCompletionRequest } from '../../../server/schemas/chat-request.js'
import { CompletionRequest } from '../../../server/schemas/completion-request.js'
import { chatFields, completionFields } from '../../../server/schemas/fields.js'
import { postChat, postCompletion, startApp } from '../app-under-test.js'
import { expectError } from '../expect-error.js'

t.test('the table and the schemas know the same supported fields', async (t) => {
  for (const [fields, schema] of [
    [chatFields, ChatCompletionRequest],
    [completionFields, CompletionRequest],
  ] as const) {
    const inTable = [...fields]
      .filter(([path, { verdict }]) => verdict === 'supported' && !/[.[]/.test(path))
      .map(([path]) => path)
    t.strictSame(inTable.sort(), Object.keys(schema.shape).sort())
  }
})

for (const [name, fields, send] of [
  ['chat', chatFields, postChat],
  ['completion', completionFields, postCompletion],
] as const) {
  t.test(`${name}: every refused field, with a value and with its neutral values`, async (t) => {
    const { app } = await startApp(t)
    for (const [path, { verdict, neutral }] of fields) {
      if (verdict !== 'refused' || /[.[]/.test(path)) continue
      const answer = await send(app, { [path]: { unheard: 'of' } })
      expectError(t, answer, 'unsupported_parameter', path, path)
      for (const value of [...neutral, null]) {
        if (path === 'messages' || path === 'prompt') continue
        const { status } = await send(app, { [path]: value })
        t.equal(status, 200, `${path} ${JSON.stringify(value)} asks for nothing`)
      }
    }
  })

  t.test(`${name}: every ignored field with any value`, async (t) => {
    const { app } = await startApp(t)
    for (const [path, { verdict }] of fields) {
      if (verdict !== 'ignored' || /[.[]/.test(path)) continue
      for (const value of ['x', 5, { a: [1] }]) {
        const answer = await send(app, { [path]: value })
        t.equal(answer.status, 200, `${path} ${JSON.stringify(value)}`)
        t.notOk(answer.headers['x-ignored-params'], 'it is known')
      }
    }
  })
}

t.test('docs/compatibility.md is the table', async (t) => {
  const page = readFileSync('docs/compatibility.md', 'utf8')
  t.equal(replaceSection(page, 'chat fields', fieldTable(chatFields)), page)
  t.equal(replaceSection(page, 'completion fields', fieldTable(completionFields)), page)
})

/** Request fields of OpenAI's own interface: none may be unknown here. */
const openaiFields = `model messages frequency_penalty presence_penalty logit_bias logprobs
  top_logprobs max_tokens max_completion_tokens n modalities prediction audio response_format seed
  service_tier stop stream stream_options temperature top_p tools tool_choice parallel_tool_calls
  user function_call functions store metadata reasoning_effort verbosity web_search_options
  safety_identifier prompt_cache_key prompt_cache_retention moderation`
const openaiCompletionFields = `model prompt best_of echo frequency_penalty logit_bias logprobs
  max_tokens n presence_penalty seed stop stream stream_options suffix temperature top_p user`

t.test('every field of OpenAI has a verdict', async (t) => {
  for (const field of openaiFields.split(/\s+/)) t.ok(chatFields.has(field), field)
  for (const field of openaiCompletionFields.split(/\s+/)) t.ok(completionFields.has(field), field)
})
