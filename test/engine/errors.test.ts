import t from 'tap'
import * as errors from '../../engine/errors.js'

t.test(
  'a prompt that is too long: both numbers, the distance and the words clients match on',
  async (t) => {
    const error = errors.contextLengthExceeded(8200, 8192)
    t.ok(error instanceof errors.EngineError)
    t.equal(error.code, 'context_length_exceeded')
    t.match(error.message, 'maximum context length is 8192 tokens')
    t.match(error.message, 'at least 9 tokens', 'one token must be left for the answer')
    t.strictSame(error.details, { n_prompt_tokens: 8200, n_ctx: 8192 })
  },
)

t.test('each factory has a code of its own and a sentence of its own', async (t) => {
  const all = [
    errors.contextLengthExceeded(2, 1),
    errors.invalidPrompt('The prompt is empty.'),
    errors.invalidTemplateInput('roles must alternate'),
    errors.serverOverloaded(64, 64),
    errors.modelLoading(),
    errors.shuttingDown(),
    errors.engineFailed('The core ended.'),
  ]
  t.equal(errors.queueTimeout().code, 'server_overloaded', 'as for a queue that is full')
  t.match(
    errors.serverOverloaded(3, 4, 2).message,
    '3 of at most 4 answers, and this request asks for 2',
  )
  t.equal(new Set(all.map(({ code }) => code)).size, all.length)
  for (const { message } of all) t.match(message, /^[A-Z].*[.a-z]$/s, message)
  t.match(all[2]!.message, 'roles must alternate', 'the template is quoted')
  t.match(all[3]!.message, '64 of at most 64', 'what there is and what the limit is')
})

t.test('a full queue of tokens is the same code, with the numbers of tokens', async (t) => {
  const error = errors.tooManyQueuedTokens(1000, 900)
  t.equal(error.code, 'server_overloaded')
  t.match(error.message, /1000[\s\S]*900|900[\s\S]*1000/)
})

t.test('the cause is kept for the log', async (t) => {
  const cause = new Error('signal SIGSEGV')
  t.equal(errors.engineFailed('The core ended.', { cause }).cause, cause)
})

t.test('only an engine that was given up is final', async (t) => {
  t.match(errors.engineGivenUp(), { code: 'engine_failed', isFinal: true })
  t.equal(errors.engineFailed('The core ended.').isFinal, false)
})
