import t from 'tap'
import type { ErrorCode } from '../../../server/errors.js'
import { chatBody, post, startApp, userMessage } from '../app-under-test.js'
import { expectError } from '../expect-error.js'
import { type FieldCases, samplingCases, toJson, wrongTypes } from './field-cases.js'

const url = '/v1/chat/completions'

const chatCases: readonly FieldCases[] = [
  ...samplingCases,
  {
    field: 'max_completion_tokens',
    types: ['number'],
    accepted: [1, 2147483647],
    refused: [
      [0, 'invalid_value'],
      [1.5, 'invalid_type'],
    ],
  },
]

for (const cases of chatCases) {
  t.test(`${cases.field}: wrong types, limits, null`, async (t) => {
    const { app } = await startApp(t)
    const send = (value: unknown) => post(app, url, toJson(chatBody({ [cases.field]: value })))
    for (const [type, value] of wrongTypes(cases)) {
      expectError(t, await send(value), 'invalid_type', cases.field, type)
    }
    for (const [value, code, rest = ''] of cases.refused) {
      const label = String(toJson({ value })).slice(0, 40)
      expectError(t, await send(value), code, model(code, `${cases.field}${rest}`), label)
    }
    for (const value of [...cases.accepted, null]) {
      t.equal((await send(value)).status, 200, `${toJson({ value }).slice(0, 40)} is accepted`)
    }
  })
}

function model(code: ErrorCode, param: string): string {
  return code === 'model_not_found' ? 'model' : param
}

t.test('stream_options', async (t) => {
  const { app } = await startApp(t)
  const send = (fields: object) => post(app, url, chatBody(fields))
  for (const value of ['x', 1, true, []]) {
    const answer = await send({ stream: true, stream_options: value })
    expectError(t, answer, 'invalid_type', 'stream_options', JSON.stringify(value))
  }
  for (const value of ['x', 1, [], {}]) {
    const answer = await send({ stream: true, stream_options: { include_usage: value } })
    expectError(t, answer, 'invalid_type', 'stream_options.include_usage', JSON.stringify(value))
  }
  for (const fields of [{}, { stream: false }, { stream: null }]) {
    const answer = await send({ ...fields, stream_options: { include_usage: true } })
    expectError(t, answer, 'invalid_value', 'stream_options', 'without stream')
  }
  for (const value of [null, {}, { include_usage: null }, { include_obfuscation: false }]) {
    t.equal((await send({ stream: true, stream_options: value })).status, 200)
  }
  const stats = await send({ stream: true, stream_options: { continuous_usage_stats: true } })
  expectError(t, stats, 'unsupported_parameter', 'stream_options.continuous_usage_stats')
})

const text = (value: unknown) => ({ type: 'text', text: value })
const user = (content: unknown) => [{ role: 'user', content }]
const call = { id: 'c1', type: 'function', function: { name: 'f', arguments: '{}' } }
const withCall = (fields: object) => [
  userMessage,
  { role: 'assistant', tool_calls: [{ ...call, ...fields }] },
]

const refusedMessages: readonly (readonly [unknown, ErrorCode, string])[] = [
  [undefined, 'missing_required_parameter', 'messages'],
  [null, 'missing_required_parameter', 'messages'],
  ['x', 'invalid_type', 'messages'],
  [{}, 'invalid_type', 'messages'],
  [[], 'invalid_value', 'messages'],
  [Array(4097).fill(userMessage), 'invalid_value', 'messages'],
  [[null], 'invalid_type', 'messages[0]'],
  [['hi'], 'invalid_type', 'messages[0]'],
  [[{}], 'missing_required_parameter', 'messages[0].role'],
  [[{ role: null, content: 'x' }], 'missing_required_parameter', 'messages[0].role'],
  [[{ role: 5, content: 'x' }], 'invalid_type', 'messages[0].role'],
  [[{ role: 'bot', content: 'x' }], 'invalid_value', 'messages[0].role'],
  [[userMessage, { role: 'user' }], 'missing_required_parameter', 'messages[1].content'],
  [user(null), 'missing_required_parameter', 'messages[0].content'],
  [user(5), 'invalid_type', 'messages[0].content'],
  [user({}), 'invalid_type', 'messages[0].content'],
  [user([]), 'invalid_value', 'messages[0].content'],
  [user(Array(1025).fill(text('x'))), 'invalid_value', 'messages[0].content'],
  [user(['x']), 'invalid_type', 'messages[0].content[0]'],
  [user([{}]), 'missing_required_parameter', 'messages[0].content[0].type'],
  [user([text(5)]), 'invalid_type', 'messages[0].content[0].text'],
  [user([{ type: 'text' }]), 'missing_required_parameter', 'messages[0].content[0].text'],
  [user([{ type: 'poem', text: 'x' }]), 'invalid_value', 'messages[0].content[0].type'],
  [user([{ type: 'refusal', refusal: 'x' }]), 'invalid_value', 'messages[0].content[0].type'],
  [
    user([text('a'), { type: 'image_url', image_url: { url: 'data:x' } }]),
    'unsupported_content_type',
    'messages[0].content[1]',
  ],
  [
    user([{ type: 'input_audio', input_audio: {} }]),
    'unsupported_content_type',
    'messages[0].content[0]',
  ],
  [user([{ type: 'file', file: {} }]), 'unsupported_content_type', 'messages[0].content[0]'],
  [[{ ...userMessage, name: 5 }], 'invalid_type', 'messages[0].name'],
  [[{ role: 'assistant' }], 'missing_required_parameter', 'messages[0].content'],
  [
    [{ role: 'assistant', content: null, tool_calls: [] }],
    'missing_required_parameter',
    'messages[0].content',
  ],
  [
    [{ role: 'assistant', content: 'x', tool_calls: 'x' }],
    'invalid_type',
    'messages[0].tool_calls',
  ],
  [withCall({ id: 5 }), 'invalid_type', 'messages[1].tool_calls[0].id'],
  [withCall({ type: 'custom' }), 'invalid_value', 'messages[1].tool_calls[0].type'],
  [
    withCall({ function: {} }),
    'missing_required_parameter',
    'messages[1].tool_calls[0].function.name',
  ],
  [
    withCall({ function: { name: 'f', arguments: {} } }),
    'invalid_type',
    'messages[1].tool_calls[0].function.arguments',
  ],
  [[{ role: 'tool', content: 'x', tool_call_id: 5 }], 'invalid_type', 'messages[0].tool_call_id'],
  [
    [{ role: 'assistant', content: 'x', audio: { id: 'a' } }],
    'unsupported_parameter',
    'messages[0].audio',
  ],
  [
    [{ role: 'assistant', function_call: { name: 'f' } }],
    'unsupported_parameter',
    'messages[0].function_call',
  ],
]

t.test('messages that are refused, each with its path', async (t) => {
  const { app } = await startApp(t)
  for (const [messages, code, param] of refusedMessages) {
    const answer = await post(app, url, { model: 'tiny', messages })
    expectError(t, answer, code, param, JSON.stringify(messages)?.slice(0, 80))
  }
})

t.test('messages that are accepted', async (t) => {
  const { app } = await startApp(t)
  const accepted = [
    [{ role: 'system', content: 's' }, { role: 'developer', content: 'd' }, userMessage],
    user([text('a'), text('b')]),
    user(''),
    [{ role: 'user', content: 'x', name: null }],
    [{ role: 'assistant', content: [{ type: 'refusal', refusal: 'no' }] }],
    [{ role: 'assistant', content: null, refusal: 'no' }],
    [{ role: 'assistant', content: 'x', tool_calls: null, function_call: null, audio: null }],
    [...withCall({}), { role: 'tool', tool_call_id: 'c1', content: [text('7')] }],
    [{ role: 'function', name: 'f', content: '7' }],
    [{ role: 'assistant', content: 'x', reasoning: 'a', reasoning_content: 'b' }, userMessage],
    Array(4096).fill(userMessage),
  ]
  for (const messages of accepted) {
    const { status, body } = await post(app, url, { messages })
    t.equal(
      status,
      200,
      `${JSON.stringify(messages).slice(0, 60)} ${JSON.stringify(body).slice(0, 99)}`,
    )
  }
})

t.test('limits that concern two fields', async (t) => {
  const { app } = await startApp(t)
  const send = (fields: object) => post(app, url, chatBody(fields))
  expectError(t, await send({ min_tokens: 5, max_tokens: 4 }), 'invalid_value', 'min_tokens')
  const both = { min_tokens: 5, max_tokens: 9, max_completion_tokens: 4 }
  expectError(t, await send(both), 'invalid_value', 'min_tokens')
  t.equal((await send({ min_tokens: 4, max_tokens: 4 })).status, 200)
})
