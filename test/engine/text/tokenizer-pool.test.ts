import { monitorEventLoopDelay } from 'node:perf_hooks'
import t, { type Test } from 'tap'
import { Tokenizer } from '../../../engine/text/tokenizer.js'
import { TokenizerPool, type TokenizerPoolOptions } from '../../../engine/text/tokenizer-pool.js'
import { until } from '../../support/processes.js'
import { RecordingLogger } from '../support/recording-logger.js'
import { BreakableThreads } from './breakable-threads.js'
import { assetsOf, readTemplate } from './text-fixtures.js'

const logger = new RecordingLogger()
const never = new AbortController().signal
const assets = assetsOf('smollm', readTemplate('chatml'))

async function open(t: Test, options: Partial<TokenizerPoolOptions> = {}) {
  const pool = await TokenizerPool.create(assets, {
    numWorkers: 1,
    maxContextLen: 1_000_000,
    logger: new RecordingLogger(),
    ...options,
  })
  t.teardown(() => pool.close())
  return pool
}

t.test('chats and texts become ids', async (t) => {
  const pool = await open(t, { numWorkers: 2 })
  const expected = new Tokenizer(assets)
  const texts = Array.from({ length: 20 }, (_, i) => `text number ${i} <|im_end|>`)
  const ids = await Promise.all(texts.map((text) => pool.encodeText(text, never)))
  ids.forEach((got, i) => {
    t.strictSame([...got], [...expected.encodeText(texts[i]!)])
  })
  const chat = await pool.encodeChat([{ role: 'user', content: 'Hi' }], never)
  const numControl = chat.filter((id) => id <= 2).length
  t.equal(numControl, 3, 'start, end, start')
})

t.test('errors keep their code', async (t) => {
  const strict = {
    ...assets,
    chatTemplate: "{% if messages|length > 1 %}{{ raise_exception('No') }}{% endif %}",
  }
  const pool = await TokenizerPool.create(strict, { numWorkers: 1, maxContextLen: 100, logger })
  t.teardown(() => pool.close())
  const message = { role: 'user' as const, content: 'x' }
  await t.rejects(pool.encodeChat([message, message], never), {
    name: 'EngineError',
    code: 'invalid_template_input',
    message: /refused these messages: No$/,
  })
})

t.test('a fault in the thread is ours: a fixed sentence, and the reason in the log', async (t) => {
  const logged: object[] = []
  const logger = new RecordingLogger()
  logger.error = (fields) => logged.push(fields)
  const pool = await open(t, { logger })
  const noText = Buffer.from('secret') as unknown as string
  await t.rejects(pool.encodeText(noText, never), {
    code: 'engine_failed',
    message: 'The prompt could not be tokenized: a fault in this server.',
  })
  t.match(logged, [{ reason: /^TypeError: .*\n +at / }])
  t.ok((await pool.encodeText('Hi', never)).length > 0)
})

t.test('arguments that nest a million deep are refused in the thread, which goes on', async (t) => {
  const pool = await open(t)
  const deep = '['.repeat(1_000_000) + ']'.repeat(1_000_000)
  const turn = {
    role: 'assistant',
    content: 'x',
    toolCalls: [{ id: 'i', name: 'f', arguments: deep }],
  } as const
  await t.rejects(pool.encodeChat([turn], never), { code: 'invalid_template_input' })
  t.ok((await pool.encodeText('Hi', never)).length > 0)
})

t.test('a prompt that cannot fit is refused by its length alone, or by its tokens', async (t) => {
  const pool = await open(t, { maxContextLen: 100 })
  const start = performance.now()
  await t.rejects(pool.encodeText('a'.repeat(4_000_000), never), {
    code: 'context_length_exceeded',
    message: /maximum context length is 100 tokens and the prompt has 4000000 bytes/,
    details: { n_ctx: 100 },
  })
  t.ok(performance.now() - start < 500, 'without tokenizing')
  const text = '1'.repeat(100)
  await t.rejects(pool.encodeText(text, never), {
    code: 'context_length_exceeded',
    details: { n_prompt_tokens: 100, n_ctx: 100 },
  })
  t.equal((await pool.encodeText(text.slice(1), never)).length, 99, 'one less fits')
})

t.test(
  'reasoning and arguments count towards the length where the template shows them',
  async (t) => {
    const long = 'a'.repeat(100_000)
    const call = { id: 'i', name: 'f', arguments: long }
    const turns = [
      { role: 'assistant', content: 'x', reasoning: long },
      { role: 'assistant', content: null, toolCalls: [call] },
    ] as const
    const chatTemplate =
      '{% for m in messages %}{{ m.content }}{{ m.reasoning_content }}' +
      '{% for c in m.tool_calls or [] %}{{ c.function.arguments }}{% endfor %}{% endfor %}'
    const options = { numWorkers: 1, maxContextLen: 100, logger }
    const pool = await TokenizerPool.create({ ...assets, chatTemplate }, options)
    t.teardown(() => pool.close())
    const plain = await open(t, { maxContextLen: 100 })
    for (const turn of turns) {
      await t.rejects(pool.encodeChat([turn], never), {
        code: 'context_length_exceeded',
        message: /and the prompt has 10000\d bytes/,
      })
      t.ok((await plain.encodeChat([turn], never)).length > 0, 'ChatML leaves both out')
    }
  },
)

t.test('a prompt over its time is refused, its thread replaced, the next one served', async (t) => {
  const pool = await open(t, { jobTimeoutMs: 40 })
  const hard = pool.encodeText('7 é\u0301'.repeat(600_000), never)
  const next = pool.encodeText('Hello', never)
  await t.rejects(hard, { code: 'invalid_prompt', message: /more than 40 ms to tokenize/ })
  t.ok((await next).length > 0)
})

t.test('a prompt over its memory is refused, the next one served', async (t) => {
  const pool = await open(t, { jobTimeoutMs: 60_000, maxWorkerHeapMb: 128, maxContextLen: 1e9 })
  const hard = pool.encodeText('7'.repeat(8_000_000), never)
  await t.rejects(hard, { code: 'invalid_prompt', message: /more memory/ })
  t.ok((await pool.encodeText('Hello', never)).length > 0)
})

t.test('aborting: before, while queued, while under way', async (t) => {
  const pool = await open(t)
  const reason = new Error('gone')
  await t.rejects(pool.encodeText('x', AbortSignal.abort(reason)), reason)
  const [running, queued] = [new AbortController(), new AbortController()]
  const first = pool.encodeText('long text '.repeat(20_000), running.signal)
  const second = pool.encodeText('x', queued.signal)
  const third = pool.encodeText('Hello', never)
  queued.abort(reason)
  running.abort(reason)
  await t.rejects(second, reason)
  await t.rejects(first, reason)
  t.ok((await third).length > 0, 'those behind are served')
})

t.test('the queue is bounded', async (t) => {
  const pool = await open(t, { maxQueuedJobs: 2 })
  const jobs = [1, 2, 3].map(() => pool.encodeText('Hello', never))
  await t.rejects(pool.encodeText('Hello', never), { code: 'server_overloaded' })
  t.equal((await Promise.all(jobs)).length, 3)
})

t.test('a long prompt does not block the event loop', async (t) => {
  const pool = await open(t, { jobTimeoutMs: 60_000 })
  const delay = monitorEventLoopDelay({ resolution: 5 })
  const job = pool.encodeText('The quick brown fox, 123. '.repeat(20_000), never)
  delay.enable()
  const start = performance.now()
  await job
  delay.disable()
  t.ok(performance.now() - start > 30, 'it took a while')
  t.ok(delay.max / 1e6 < 250, `the longest delay was ${delay.max / 1e6} ms`)
})

t.test('closing ends what waits', async (t) => {
  const pool = await open(t)
  const jobs = [1, 2].map(() => pool.encodeText('long text '.repeat(50_000), never))
  const settled = Promise.allSettled(jobs)
  await pool.close()
  for (const result of await settled) {
    t.match(result, { status: 'rejected', reason: { code: 'shutting_down' } })
  }
  await t.rejects(pool.encodeText('x', never), { code: 'shutting_down' })
})

t.test('a pool whose threads cannot be started any more says so', async (t) => {
  const threads = new BreakableThreads()
  t.teardown(() => threads.restore())
  const pool = await open(t)
  t.notOk(pool.isBroken)
  await threads.break()
  await until(() => pool.isBroken)
  await t.rejects(pool.encodeText('Hello', never), {
    code: 'engine_failed',
    isFinal: true,
  })
  const closed = await TokenizerPool.create(assets, { numWorkers: 0, maxContextLen: 100, logger })
  await closed.close()
  t.notOk(closed.isBroken, 'closing is no failure')
})

t.test('a tokenizer or template that is refused stops the start', async (t) => {
  const options = { numWorkers: 2, maxContextLen: 100, logger }
  await t.rejects(TokenizerPool.create({ ...assets, chatTemplate: '{% if' }, options), {
    name: 'ModelFileError',
    message: /^tokenizer: chat_template: cannot be parsed/,
  })
  await t.rejects(TokenizerPool.create({ ...assets, tokenizer: {} }, options), {
    name: 'ModelFileError',
    message: /model: is not an object/,
  })
})
