import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyRequest } from 'fastify'
import pino from 'pino'
import t from 'tap'
import { engineFailed, queueTimeout, serverOverloaded } from '../../../engine/errors.js'
import { buildApp } from '../../../server/app.js'
import { EngineGate } from '../../../server/engine-gate.js'
import { defaultAppConfig } from '../../../server/route-config.js'
import { chatBody, post, postChat, postCompletion, startApp } from '../app-under-test.js'
import { hello } from '../engine-double.js'
import { expectError } from '../expect-error.js'

t.test('keys that nobody knows', async (t) => {
  const { app, logs } = await startApp(t)
  const first = await postChat(app, {
    foo: 1,
    bar: 2,
    messages: [{ role: 'user', content: 'x', q: 1 }],
  })
  t.equal(first.status, 200)
  t.equal(first.headers['x-ignored-params'], 'messages[].q, foo, bar')
  const streamed = await postChat(app, { foo: 1, stream: true })
  t.equal(streamed.headers['x-ignored-params'], 'foo', 'streams say so, too')
  const named = logs.filter((line) => line.level === 40).map((line) => line.param)
  t.strictSame(named, ['messages[].q', 'foo', 'bar'], 'logged once per key')

  const odd = await postChat(app, { 'a\r\nset-cookie: x, é': 1 })
  t.equal(odd.headers['x-ignored-params'], 'a??set-cookie??x???')
  t.notOk(odd.headers['set-cookie'])

  const strict = await startApp(t, { unknownParams: 'reject' })
  expectError(t, await postChat(strict.app, { foo: 1 }), 'unknown_parameter', 'foo')
  const silent = await startApp(t, { unknownParams: 'ignore' })
  t.notOk((await postChat(silent.app, { foo: 1 })).headers['x-ignored-params'])
  t.strictSame(
    silent.logs.filter((line) => line.level === 40),
    [],
  )
})

t.test('a body is let go of before its answer is made', async (t) => {
  const { app, engine } = await startApp(t)
  const bodies: unknown[] = []
  let request: FastifyRequest | undefined
  app.addHook('preHandler', async (one) => {
    request = one
  })
  engine.script = async function* () {
    bodies.push(request?.body)
    yield* hello
  }
  t.equal((await postChat(app, { user: 'x'.repeat(1000) })).status, 200)
  t.equal((await postChat(app, { stream: true })).status, 200)
  t.strictSame(bodies, [undefined, undefined])
})

t.test('what the engine refuses has its status, streamed or not', async (t) => {
  const { app, engine } = await startApp(t)
  for (const stream of [false, true]) {
    engine.failure = serverOverloaded(9, 9)
    const full = await postChat(app, { stream })
    expectError(t, full, 'server_overloaded', null)
    t.match(full.headers, { 'retry-after': '1', 'content-type': /^application\/json/ })
    engine.failure = engineFailed('The core process ended.')
    expectError(t, await postChat(app, { stream }), 'engine_failed', null)
    engine.failure = new Error('a bug')
    const bug = await postChat(app, { stream })
    expectError(t, bug, 'internal_error', null)
    t.equal(bug.headers['x-should-retry'], 'false')
  }
})

t.test('a request that waits too long has its status, streamed or not', async (t) => {
  const { app, engine } = await startApp(t, { canExpire: true, keepAliveMs: 200 })
  let waitMs = 20
  // biome-ignore lint/correctness/useYield: nothing comes before the error.
  engine.script = async function* () {
    await sleep(waitMs)
    throw queueTimeout()
  }
  for (const stream of [false, true]) {
    const late = await postChat(app, { stream })
    expectError(t, late, 'server_overloaded', null)
    t.match(late.headers, { 'retry-after': '1', 'retry-after-ms': '1000' })
  }
  waitMs = 300
  const { status, body } = await postChat(app, { stream: true })
  t.equal(status, 200, 'a stream that has waited for so long has begun')
  t.match(body.text, /server_overloaded.*\n\ndata: \[DONE\]/)
  engine.script = hello
  t.match((await postChat(app, { stream: true })).body.text, /Hel/)
})

t.test('more answers than this server makes', async (t) => {
  const { app, engine } = await startApp(t, { maxChoices: 5 })
  for (const send of [postChat, postCompletion]) {
    t.equal((await send(app, { n: 5 })).status, 200)
    const refused = await send(app, { n: 6 })
    expectError(t, refused, 'invalid_value', 'n')
    t.match(refused.body.error, { message: /6 was given.*at most 5 answers/ })
  }
  engine.model = { ...engine.model, maxSequences: 2 }
  expectError(t, await postChat(app, { n: 3 }), 'invalid_value', 'n')
  engine.model = { ...engine.model, maxSequences: undefined }
  t.equal((await postChat(app, { n: 5 })).status, 200)
})

t.test('priority and salt reach the engine', async (t) => {
  const { app, engine } = await startApp(t)
  await postChat(app, { priority: -3, cache_salt: 'a' })
  const { priority, tenant } = engine.lastRequest
  t.equal(priority, -3)
  t.ok(tenant > 0)
  await postCompletion(app, { cache_salt: 'a' })
  t.match(engine.lastRequest, { priority: 0, tenant })
  await postChat(app, { cache_salt: 'b' })
  t.not(engine.lastRequest.tenant, tenant)
  await postChat(app)
  t.equal(engine.lastRequest.tenant, 0)
})

t.test('faults of ours are logged with their stack, refusals are not', async (t) => {
  const { app, engine, logs } = await startApp(t)
  engine.failure = serverOverloaded(9, 9)
  await postChat(app)
  t.strictSame(
    logs.filter((line) => line.level === 50),
    [],
  )
  engine.failure = new Error('a bug')
  await postChat(app)
  t.match(
    logs.filter((line) => line.level === 50),
    [{ err: { message: 'a bug', stack: /generation/ } }],
  )
})

t.test('before the model is loaded, and while the server drains', async (t) => {
  const gate = new EngineGate()
  const app = await buildApp({ gate, config: defaultAppConfig, logger: pino({ level: 'silent' }) })
  t.teardown(() => app.close())
  expectError(t, await postChat(app), 'model_loading', null)
  t.equal((await app.inject('/v1/models')).statusCode, 503)
  t.equal((await app.inject('/v1/models/x')).statusCode, 503)
  gate.beginDrain()
  const answer = await post(app, '/v1/completions', chatBody())
  expectError(t, answer, 'shutting_down', null)
  t.equal(answer.headers.connection, 'close')
})

t.test('the limit of the server where a request has none', async (t) => {
  const { app, engine } = await startApp(t, { defaultMaxTokens: 5 })
  await postChat(app)
  t.equal(engine.lastRequest.stop.maxTokens, 5)
  await postChat(app, { max_tokens: 9 })
  t.equal(engine.lastRequest.stop.maxTokens, 9)
})
