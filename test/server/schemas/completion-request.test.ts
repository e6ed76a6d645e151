import t from 'tap'
import type { ErrorCode } from '../../../server/errors.js'
import { post, startApp } from '../app-under-test.js'
import { expectError } from '../expect-error.js'
import { samplingCases, toJson, wrongTypes } from './field-cases.js'

const url = '/v1/completions'

for (const cases of samplingCases) {
  t.test(`${cases.field}: wrong types, limits, null`, async (t) => {
    const { app } = await startApp(t)
    const send = (value: unknown) => post(app, url, toJson({ prompt: 'Hi', [cases.field]: value }))
    for (const [type, value] of wrongTypes(cases)) {
      expectError(t, await send(value), 'invalid_type', cases.field, type)
    }
    for (const [value, code, rest = ''] of cases.refused) {
      expectError(
        t,
        await send(value),
        code,
        `${cases.field}${rest}`,
        toJson({ value }).slice(0, 40),
      )
    }
    for (const value of [...cases.accepted, null]) {
      t.equal((await send(value)).status, 200, `${toJson({ value }).slice(0, 40)} is accepted`)
    }
  })
}

const refusedPrompts: readonly (readonly [unknown, ErrorCode, string])[] = [
  [undefined, 'missing_required_parameter', 'prompt'],
  [null, 'missing_required_parameter', 'prompt'],
  [5, 'invalid_type', 'prompt'],
  [true, 'invalid_type', 'prompt'],
  [{}, 'invalid_type', 'prompt'],
  [[], 'invalid_value', 'prompt'],
  [[1, 'a'], 'invalid_type', 'prompt[1]'],
  [[1, 1.5], 'invalid_type', 'prompt[1]'],
  [[1, null], 'invalid_type', 'prompt[1]'],
  [[-1], 'invalid_value', 'prompt[0]'],
  [[511, 512], 'invalid_value', 'prompt[1]'],
  [[2 ** 40], 'invalid_value', 'prompt[0]'],
  [['a'], 'unsupported_value', 'prompt'],
  [['a', 'b'], 'unsupported_value', 'prompt'],
  [[[1, 2]], 'unsupported_value', 'prompt'],
  [Array(128).fill(1), 'context_length_exceeded', 'prompt'],
  [Array(1_000_000).fill(1), 'context_length_exceeded', 'prompt'],
]

t.test('prompts that are refused', async (t) => {
  const { app } = await startApp(t)
  for (const [prompt, code, param] of refusedPrompts) {
    const answer = await post(app, url, { prompt })
    expectError(t, answer, code, param, JSON.stringify(prompt)?.slice(0, 40))
  }
  const tooLong = await post(app, url, { prompt: Array(200).fill(1) })
  t.match(tooLong.body.error, {
    message: /maximum context length is 128 tokens/,
    n_prompt_tokens: 200,
    n_ctx: 128,
  })
})

t.test('a prompt is text or token ids', async (t) => {
  const { app, engine } = await startApp(t)
  t.equal((await post(app, url, { prompt: 'Once' })).status, 200)
  t.strictSame(engine.lastRequest.prompt, { kind: 'text', text: 'Once' })
  t.equal((await post(app, url, { prompt: [0, 511] })).status, 200)
  t.strictSame(engine.lastRequest.prompt, { kind: 'tokens', tokenIds: Int32Array.of(0, 511) })
})
