import t from 'tap'
import { version } from '../../../server/version.js'
import { startApp } from '../app-under-test.js'

t.test('health, ready and version', async (t) => {
  const { app } = await startApp(t)
  t.strictSame((await app.inject('/health')).json(), { status: 'ok' })
  t.strictSame((await app.inject('/ready')).json(), { status: 'ready' })
  t.strictSame((await app.inject('/version')).json(), { version })
})

t.test('by the state of the engine', async (t) => {
  const { app, engine } = await startApp(t)
  for (const [state, health, ready, code] of [
    ['loading', 200, 503, 'model_loading'],
    ['restarting', 200, 503, 'model_loading'],
    ['draining', 200, 503, 'shutting_down'],
    ['failed', 503, 503, 'engine_failed'],
    ['ready', 200, 200, undefined],
  ] as const) {
    engine.state = state
    t.equal((await app.inject('/health')).statusCode, health, state)
    const answer = await app.inject('/ready')
    t.equal(answer.statusCode, ready, state)
    if (code !== undefined) {
      t.match(answer.json(), { error: { code, type: 'server_error', param: null } })
      if (state === 'failed') {
        t.notOk(answer.headers['retry-after'], 'nothing here brings it back')
        t.equal(answer.headers['x-should-retry'], 'false')
      } else t.match(answer.headers['retry-after'], /^\d+$/)
    }
  }
})
