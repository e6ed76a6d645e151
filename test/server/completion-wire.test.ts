import t from 'tap'
import {
  completionChunkFrames,
  refuseImpossiblePrompt,
  toCompletion,
  toGenerateRequest,
} from '../../server/completion-wire.js'
import { CompletionRequest } from '../../server/schemas/completion-request.js'
import { usage } from './engine-double.js'

const model = { id: 'tiny', created: 1, maxContextLen: 128, vocabSize: 512, maxSequences: 8 }
const context = { vocabSize: 512, defaultMaxTokens: 16, maxChoices: 16 }
const oneChoice = { numChoices: 1, includeUsage: false }
const head = { id: 'cmpl-1', created: 5, model: 'a/b', system_fingerprint: 'fp_x' }
const finish = { reason: 'length' } as const

t.test('prompts', async (t) => {
  const convert = (prompt: unknown) =>
    toGenerateRequest(CompletionRequest.parse({ prompt }), context)
  t.strictSame(convert('Hi'), {
    prompt: { kind: 'text', text: 'Hi' },
    sampling: {},
    stop: { maxTokens: 16 },
    numChoices: 1,
    priority: 0,
    tenant: 0,
  })
  t.strictSame(convert([5, 511]).prompt, { kind: 'tokens', tokenIds: Int32Array.of(5, 511) })
  t.throws(() => convert([5, 512]), { code: 'invalid_value', param: 'prompt[1]' })
})

t.test('arrays that need no second look', async (t) => {
  const refuse = (prompt: unknown) => refuseImpossiblePrompt({ prompt }, model)
  t.throws(() => refuse(['a']), { code: 'unsupported_value', param: 'prompt' })
  t.throws(() => refuse([[1]]), { code: 'unsupported_value', param: 'prompt' })
  t.throws(() => refuse(Array(128).fill(0)), { code: 'context_length_exceeded' })
  for (const prompt of [Array(127).fill(0), [], 'x', undefined, {}]) refuse(prompt)
  for (const body of [undefined, null, 5, 'x']) refuseImpossiblePrompt(body, model)
})

t.test('a whole answer', async (t) => {
  const choices = [
    { text: ' there', finish },
    { text: ' here', finish: { reason: 'stop', stopString: 'x' } as const },
  ]
  t.match(toCompletion(head, { choices, usage }), {
    id: 'cmpl-1',
    object: 'text_completion',
    choices: [
      { index: 0, text: ' there', logprobs: null, finish_reason: 'length', stop_reason: null },
      { index: 1, text: ' here', logprobs: null, finish_reason: 'stop', stop_reason: 'x' },
    ],
    usage: { prompt_tokens: 7, total_tokens: 9 },
  })
})

t.test('chunks, byte for byte', async (t) => {
  const frames = completionChunkFrames(head, oneChoice)
  const start =
    'data: {"id":"cmpl-1","object":"text_completion","created":5,"model":"a/b",' +
    '"system_fingerprint":"fp_x","choices":[{"index":0,'
  t.equal(frames.opening, '')
  t.equal(frames.text(0, 'x'), `${start}"text":"x","logprobs":null,"finish_reason":null}]}\n\n`)
  t.equal(
    frames.finish(0, finish),
    `${start}"text":"","logprobs":null,"finish_reason":"length","stop_reason":null}]}\n\n`,
  )
  t.match(
    completionChunkFrames(head, { ...oneChoice, includeUsage: true }).text(0, 'x'),
    /,"usage":null\}\n\n$/,
  )
  const two = completionChunkFrames(head, { ...oneChoice, numChoices: 2 })
  t.match(two.text(1, 'x'), '"choices":[{"index":1,"text":"x"')
  t.match(two.finish(1, finish), '"choices":[{"index":1,"text":""')
})
