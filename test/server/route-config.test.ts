import t from 'tap'
import { defaultAppConfig } from '../../server/route-config.js'

t.test('a reader is given longer than the longest silence', async (t) => {
  const { keepAliveMs, stallTimeoutMs } = defaultAppConfig
  t.equal(keepAliveMs, 15_000)
  t.ok(stallTimeoutMs >= 2 * keepAliveMs, 'or keep-alive lines would not keep anything alive')
})

t.test('nothing is open by default', async (t) => {
  t.match(defaultAppConfig, { corsOrigins: [], exposeInternalState: false, modelCheck: 'strict' })
})
