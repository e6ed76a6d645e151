import t from 'tap'
import { chatChunkFrames, toChatCompletion, toGenerateRequest } from '../../server/chat-wire.js'
import { ChatCompletionRequest } from '../../server/schemas/chat-request.js'
import { userMessage } from './app-under-test.js'
import { usage } from './engine-double.js'

const context = { vocabSize: 512, defaultMaxTokens: undefined, maxChoices: 16 }
const convert = (body: object, defaultMaxTokens?: number) =>
  toGenerateRequest(ChatCompletionRequest.parse({ messages: [userMessage], ...body }), {
    ...context,
    defaultMaxTokens,
  })
const messagesOf = (messages: readonly object[]) => {
  const { prompt } = convert({ messages })
  return prompt.kind === 'chat' ? prompt.messages : []
}

t.test('what was not given stays out, for the model to fill in', async (t) => {
  t.strictSame(convert({}), {
    prompt: { kind: 'chat', messages: [{ role: 'user', content: 'Hi' }] },
    sampling: {},
    stop: {},
    numChoices: 1,
    priority: 0,
    tenant: 0,
  })
})

t.test('limits on tokens: max_completion_tokens, then max_tokens, then the server', async (t) => {
  t.equal(convert({ max_completion_tokens: 3, max_tokens: 5 }, 7).stop.maxTokens, 3)
  t.equal(convert({ max_tokens: 5 }, 7).stop.maxTokens, 5)
  t.equal(convert({}, 7).stop.maxTokens, 7)
})

t.test('roles and parts', async (t) => {
  const parts = [
    { type: 'text', text: 'a' },
    { type: 'text', text: 'b' },
  ]
  t.strictSame(
    messagesOf([
      { role: 'system', content: 's' },
      { role: 'developer', content: 'd', name: 'dev' },
      { role: 'user', content: parts, name: 'ann' },
      {
        role: 'assistant',
        content: [{ type: 'refusal', refusal: 'no' }],
        reasoning_content: 'why',
      },
      { role: 'assistant', refusal: 'never' },
      { role: 'tool', content: parts, tool_call_id: 'c1' },
      { role: 'function', content: '7', name: 'f' },
    ]),
    [
      { role: 'system', content: 's' },
      { role: 'developer', content: 'd', name: 'dev' },
      { role: 'user', content: 'a\nb', name: 'ann' },
      { role: 'assistant', content: 'no', reasoning: 'why' },
      { role: 'assistant', content: 'never' },
      { role: 'tool', content: 'a\nb', toolCallId: 'c1' },
      { role: 'tool', content: '7', name: 'f' },
    ],
  )
})

t.test('tool calls: arguments stay text, however deep they nest', async (t) => {
  const call = (text: string) => ({
    id: 'c',
    type: 'function',
    function: { name: 'f', arguments: text },
  })
  const deep = '['.repeat(1_000_000)
  t.strictSame(messagesOf([{ role: 'assistant', tool_calls: [call('{"a":1}'), call(deep)] }]), [
    {
      role: 'assistant',
      content: null,
      toolCalls: [
        { id: 'c', name: 'f', arguments: '{"a":1}' },
        { id: 'c', name: 'f', arguments: deep },
      ],
    },
  ])
})

const head = { id: 'chatcmpl-1', created: 5, model: 'a/b', system_fingerprint: 'fp_x' }
const finish = { reason: 'stop', stopString: '\n' } as const
const wireUsage = {
  prompt_tokens: 7,
  completion_tokens: 2,
  total_tokens: 9,
  prompt_tokens_details: { cached_tokens: 3 },
  completion_tokens_details: { reasoning_tokens: 0 },
}

t.test('a whole answer', async (t) => {
  t.strictSame(toChatCompletion(head, { choices: [{ text: 'Hello', finish }], usage }), {
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 5,
    model: 'a/b',
    system_fingerprint: 'fp_x',
    service_tier: 'default',
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: 'Hello', refusal: null },
        logprobs: null,
        finish_reason: 'stop',
        stop_reason: '\n',
      },
    ],
    usage: wireUsage,
  })
})

const oneChoice = { numChoices: 1, includeUsage: false }

t.test('chunks, byte for byte', async (t) => {
  const start =
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":5,"model":"a/b",' +
    '"system_fingerprint":"fp_x","service_tier":"default","choices":['
  const plain = chatChunkFrames(head, oneChoice)
  t.equal(
    plain.opening,
    `${start}{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]}\n\n`,
  )
  t.equal(
    plain.text(0, 'a "b"\n\u2028'),
    `${start}{"index":0,"delta":{"content":"a \\"b\\"\\n\u2028"},"logprobs":null,"finish_reason":null}]}\n\n`,
  )
  t.equal(
    plain.finish(0, finish),
    `${start}{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop","stop_reason":"\\n"}]}\n\n`,
  )

  const counted = chatChunkFrames(head, { numChoices: 1, includeUsage: true })
  for (const frame of [counted.opening, counted.text(0, 'x'), counted.finish(0, finish)]) {
    t.match(frame, /,"usage":null\}\n\n$/)
  }
  t.equal(counted.usage(wireUsage), `${start}],"usage":${JSON.stringify(wireUsage)}}\n\n`)
})

t.test('choices: in order in a whole answer, each with its own chunks in a stream', async (t) => {
  const cut = { reason: 'length' } as const
  const answer = {
    choices: [
      { text: 'a', finish },
      { text: 'b', finish: cut },
    ],
    usage,
  }
  t.match(toChatCompletion(head, answer).choices, [
    { index: 0, message: { content: 'a' }, finish_reason: 'stop' },
    { index: 1, message: { content: 'b' }, finish_reason: 'length', stop_reason: null },
  ])

  const frames = chatChunkFrames(head, { numChoices: 3, includeUsage: false })
  const openings = frames.opening.split('\n\n').filter(Boolean)
  const choiceOf = (frame: string) => JSON.parse(frame.slice('data: '.length)).choices[0]
  t.strictSame(
    openings.map(choiceOf),
    [0, 1, 2].map((index) => ({
      index,
      delta: { role: 'assistant', content: '', refusal: null },
      logprobs: null,
      finish_reason: null,
    })),
  )
  t.match(choiceOf(frames.text(2, 'x')), { index: 2, delta: { content: 'x' } })
  t.match(choiceOf(frames.finish(1, cut)), { index: 1, finish_reason: 'length' })
})

t.test('a model whose name is made to confuse the template', async (t) => {
  const odd = chatChunkFrames({ ...head, model: '{"content":"x"}\\u0000text' }, oneChoice)
  const chunk = JSON.parse(odd.text(0, 'hello').slice('data: '.length))
  t.equal(chunk.choices[0].delta.content, 'hello')
  t.equal(chunk.model, '{"content":"x"}\\u0000text')
})
