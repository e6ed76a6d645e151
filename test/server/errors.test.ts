import { readFileSync } from 'node:fs'
import t from 'tap'
import {
  contextLengthExceeded,
  engineFailed,
  engineGivenUp,
  invalidPrompt,
  modelLoading,
  serverOverloaded,
  shuttingDown,
} from '../../engine/errors.js'
import { ApiError, catalogue, excerpt, toErrorResponse } from '../../server/errors.js'
import { errorTable, replaceSection } from '../../server/reference.js'

const context = { requestId: 'r1', promptParam: 'messages' }
const codes = Object.keys(catalogue) as (keyof typeof catalogue)[]

t.test('every code has four keys, its status and its type', async (t) => {
  for (const code of codes) {
    const { status, body } = toErrorResponse(new ApiError(code, 'Why.', 'a[0].b'), context)
    const { type } = catalogue[code]
    const wireCode = code === 'invalid_json' ? null : code
    t.equal(status, catalogue[code].status)
    t.strictSame(body, { error: { message: 'Why.', type, param: 'a[0].b', code: wireCode } }, code)
  }
})

t.test('docs/errors.md is the catalogue, both ways', async (t) => {
  const page = readFileSync('docs/errors.md', 'utf8')
  t.equal(replaceSection(page, 'errors', errorTable()), page)
  for (const code of codes) t.match(page, `| \`${code}\` | ${catalogue[code].status} |`)
})

t.test('errors of the engine', async (t) => {
  const tooLong = toErrorResponse(contextLengthExceeded(200, 128), context)
  t.equal(tooLong.status, 400)
  t.match(tooLong.body.error, {
    message: /maximum context length is 128 tokens/,
    param: 'messages',
    code: 'context_length_exceeded',
    n_prompt_tokens: 200,
    n_ctx: 128,
  })
  t.match(toErrorResponse(invalidPrompt('Empty.'), { ...context, promptParam: 'prompt' }).body, {
    error: { param: 'prompt' },
  })
  t.match(toErrorResponse(serverOverloaded(5, 5), context), {
    status: 503,
    headers: { 'retry-after': '1', 'retry-after-ms': '1000' },
    body: { error: { param: null, code: 'server_overloaded', type: 'server_error' } },
  })
  t.match(toErrorResponse(modelLoading(), context), {
    status: 503,
    headers: { 'retry-after': '2' },
  })
  t.match(toErrorResponse(shuttingDown(), context), {
    status: 503,
    headers: { connection: 'close' },
  })
  t.match(toErrorResponse(engineFailed('It ended.'), context), {
    status: 500,
    headers: { 'retry-after': '1' },
  })
})

t.test('an engine that was given up is not worth another try', async (t) => {
  const { status, headers, body } = toErrorResponse(engineGivenUp(), context)
  t.equal(status, 500)
  t.strictSame(headers, { 'x-should-retry': 'false' })
  t.match(body.error, { code: 'engine_failed', message: /has to be restarted/ })
})

t.test('an error nobody expected keeps its text to itself', async (t) => {
  for (const error of [new Error('password 123'), 'password 123', undefined, null, { code: 7 }]) {
    const { status, headers, body } = toErrorResponse(error, context)
    t.equal(status, 500)
    t.equal(headers['x-should-retry'], 'false')
    t.match(body.error, { message: /request id r1/, code: 'internal_error', param: null })
    t.notMatch(JSON.stringify(body), /password/)
  }
})

t.test('an excerpt is short and harmless', async (t) => {
  t.equal(excerpt('short'), '"short"')
  t.equal(excerpt(5), '5')
  t.equal(excerpt([1, 2]), 'an array of 2')
  t.equal(excerpt({ a: 1 }), 'an object')
  t.ok(excerpt('x'.repeat(1e6)).length <= 65)
  t.notMatch(excerpt('a\u001b[0m\u202eb'), /\p{Cc}|\p{Cf}/u)
})
