import t from 'tap'
import { startApp } from '../app-under-test.js'

t.test('only where the operator asked for it', async (t) => {
  const closed = await startApp(t)
  t.equal((await closed.app.inject('/v1/internal/state')).statusCode, 404)
  const { app, engine } = await startApp(t, { exposeInternalState: true })
  const response = await app.inject('/v1/internal/state')
  t.equal(response.statusCode, 200)
  t.strictSame(response.json(), await engine.inspect())
})
