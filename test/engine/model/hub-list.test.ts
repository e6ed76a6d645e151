import t, { type Test } from 'tap'
import { hubHeaders, listHubFiles, statusFailure } from '../../../engine/model/hub-list.js'
import { contextFor, refusingUrl } from './support/fetch-context.js'
import { COMMIT, HubServer } from './support/hub-server.js'

async function hubOf(t: Test): Promise<HubServer> {
  const hub = await HubServer.start(
    new Map([
      ['a.json', '{}'],
      ['b.gguf', 'GGUF'],
    ]),
  )
  t.teardown(() => hub.close())
  return hub
}

const list = (t: Test, url: string, env: Record<string, string> = {}) =>
  listHubFiles('owner/name', contextFor(t.testdir(), url, env).settings)

t.test('files with size and digest, of one commit', async (t) => {
  const hub = await hubOf(t)
  const { commit, files } = await list(t, hub.url, { HF_TOKEN: 'secret' })
  t.equal(commit, COMMIT)
  t.match(files, [
    { path: 'a.json', byteLength: 2, digest: { kind: 'git-sha1', hex: /^[0-9a-f]{40}$/ } },
    { path: 'b.gguf', byteLength: 4, digest: { kind: 'sha256', hex: /^[0-9a-f]{64}$/ } },
  ])
  t.ok(hub.requests.every(({ authorization }) => authorization === 'Bearer secret'))
  await list(t, hub.url)
  t.equal(hub.requests.at(-1)?.authorization, undefined)
})

t.test('a refusal is told apart from a fault, with what to do', async (t) => {
  const hub = await hubOf(t)
  const cases: [number, string, RegExp][] = [
    [404, 'not_found', /has no model owner\/name. Check the spelling/],
    [401, 'forbidden', /set HF_TOKEN to an access token/],
    [403, 'forbidden', /set HF_TOKEN/],
    [500, 'server', /answered 500 for model owner\/name. Try again/],
    [429, 'server', /answered 429/],
  ]
  for (const [status, kind, message] of cases) {
    hub.faults.set('list', [{ kind: 'status', status }])
    await t.rejects(list(t, hub.url), { name: 'ModelFetchError', kind, message }, String(status))
  }
  hub.faults.set('list', [{ kind: 'status', status: 403 }])
  await t.rejects(list(t, hub.url, { HF_TOKEN: 'x' }), /The token in HF_TOKEN gives no access/)
})

t.test('an unreachable or silent hub is noticed in time', async (t) => {
  const hub = await hubOf(t)
  hub.faults.set('list', [{ kind: 'silence' }])
  const start = Date.now()
  await t.rejects(list(t, hub.url), { kind: 'unreachable', message: /did not answer in time/ })
  await t.rejects(list(t, await refusingUrl()), { kind: 'unreachable', message: /refused/ })
  t.ok(Date.now() - start < 6000)
})

t.test('a list that cannot be checked against is refused', async (t) => {
  const hub = await hubOf(t)
  for (const lie of [{ oid: 'x' }, { oid: '../../../etc' }, { size: -1 }, { size: 1.5 }]) {
    for (const file of ['a.json', 'b.gguf']) {
      hub.lies.set(file, lie)
      await t.rejects(list(t, hub.url), { kind: 'corrupt', message: /without a size and digest/ })
      hub.lies.delete(file)
    }
  }
  for (const sha of ['main', '../..', undefined, 5]) {
    hub.sha = sha
    await t.rejects(list(t, hub.url), { kind: 'corrupt', message: /names no commit/ })
  }
})

t.test('the token is for the endpoint alone', async (t) => {
  const { settings } = contextFor(t.testdir(), 'http://hub.test', { HF_TOKEN: 'secret' })
  t.same(hubHeaders('http://hub.test/a', settings), { authorization: 'Bearer secret' })
  t.same(hubHeaders('http://hub.test.evil/a', settings), {})
  t.same(hubHeaders('http://hub.test:81/a', settings), {})
  t.equal(statusFailure(206, 'x', settings), undefined)
})
