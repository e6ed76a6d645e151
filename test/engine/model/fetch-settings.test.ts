import t from 'tap'
import { ModelFetchError } from '../../../engine/model/fetch-error.js'
import { readFetchSettings } from '../../../engine/model/fetch-settings.js'

t.test('folders, in the order in which the variables count', async (t) => {
  const hub = (env: Record<string, string>) => readFetchSettings(env).hubCache
  t.equal(hub({ HOME: '/h' }), '/h/.cache/huggingface/hub')
  t.equal(hub({ HOME: '/h', XDG_CACHE_HOME: '/c' }), '/c/huggingface/hub')
  t.equal(hub({ XDG_CACHE_HOME: '/c', HF_HOME: '/hf' }), '/hf/hub')
  t.equal(hub({ HF_HOME: '/hf', HF_HUB_CACHE: '/cache' }), '/cache')
  t.equal(readFetchSettings({ HF_HUB_CACHE: '/a' }, { cacheFolder: '/b' }).hubCache, '/b')
  t.equal(readFetchSettings({ HOME: '/h' }).ownCache, '/h/.cache/kvasir/models')
  t.equal(readFetchSettings({ XDG_CACHE_HOME: '/c' }).ownCache, '/c/kvasir/models')
})

t.test('endpoint, token and the switch for no network', async (t) => {
  t.match(readFetchSettings({}), { endpoint: /^https:/, isOffline: false })
  t.equal(readFetchSettings({ HF_TOKEN: '' }).token, undefined)
  t.equal(readFetchSettings({ HF_TOKEN: 'abc' }).token, 'abc')
  t.equal(readFetchSettings({ HF_ENDPOINT: 'http://mirror:80/' }).endpoint, 'http://mirror:80')
  for (const endpoint of ['mirror', 'ftp://mirror', 'file:///etc']) {
    t.throws(() => readFetchSettings({ HF_ENDPOINT: endpoint }), ModelFetchError, endpoint)
  }
  for (const word of ['1', 'true', 'YES', 'on']) {
    t.equal(readFetchSettings({ HF_HUB_OFFLINE: word }).isOffline, true, word)
  }
  t.equal(readFetchSettings({ HF_HUB_OFFLINE: '0' }).isOffline, false)
  t.equal(readFetchSettings({ HF_HUB_OFFLINE: '1' }, { offline: false }).isOffline, false)
})

t.test('an unreachable hub is noticed within ten seconds', async (t) => {
  t.ok(readFetchSettings({}).timeouts.reachMs <= 10_000)
  t.equal(readFetchSettings({}, { timeouts: { reachMs: 5 } }).timeouts.reachMs, 5)
})
