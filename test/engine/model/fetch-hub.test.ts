import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { fetchFromHub } from '../../../engine/model/fetch-hub.js'
import { openModel } from '../../../engine/model/open-model.js'
import { buildGguf } from './support/build-gguf.js'
import { contextFor } from './support/fetch-context.js'
import { COMMIT, HubServer } from './support/hub-server.js'
import { OPEN_OPTIONS } from './support/open-options.js'
import { tinyFiles, tinyGguf } from './support/tiny-models.js'

async function start(t: Test, files: ReadonlyMap<string, string | Buffer>) {
  const hub = await HubServer.start(files)
  t.teardown(() => hub.close())
  const context = contextFor(t.testdir(), hub.url)
  const folder = join(context.settings.hubCache, 'models--owner--name')
  return { hub, context, folder }
}

t.test('a model arrives in the standard layout and can be opened', async (t) => {
  const files = tinyFiles({ 'README.md': 'x', 'pytorch_model.bin': 'x', 'sub/config.json': '{}' })
  const { hub, context, folder } = await start(t, files)
  const path = await fetchFromHub('owner/name', undefined, context)
  t.equal(path, join(folder, 'snapshots', COMMIT))
  t.equal((await openModel(path, OPEN_OPTIONS)).name, 'name')
  t.equal(readFileSync(join(folder, 'refs', 'main'), 'utf8'), COMMIT)
  t.match(readlinkSync(join(path, 'model.safetensors')), /^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/)
  t.match(readlinkSync(join(path, 'config.json')), /^\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/)
  t.same(readdirSync(path).sort(), [...tinyFiles().keys()].sort(), 'only what a model needs')
  const order = context.progress.map(({ file }) => file)
  t.equal(order[0], 'config.json')
  t.equal(order.at(-1), 'model.safetensors')
  t.equal(hub.transfersOf('README.md').length, 0)
})

t.test('one GGUF file, by name or because it is the only one', async (t) => {
  const gguf = buildGguf(tinyGguf())
  const two = await start(
    t,
    new Map([
      ['a.gguf', gguf],
      ['b.gguf', gguf],
    ]),
  )
  const path = await fetchFromHub('owner/name', 'b.gguf', two.context)
  t.match(path, new RegExp(`snapshots/${COMMIT}/b.gguf$`))
  t.equal((await openModel(path, OPEN_OPTIONS)).name, 'b')
  await t.rejects(fetchFromHub('owner/name', undefined, two.context), {
    kind: 'not_found',
    message: /name one as owner\/name:FILE. It has a.gguf, b.gguf/,
  })
  await t.rejects(fetchFromHub('owner/name', 'c.gguf', two.context), {
    kind: 'not_found',
    message: /has no file c.gguf. It has a.gguf/,
  })
  const one = await start(t, new Map([['a.gguf', gguf]]))
  t.match(await fetchFromHub('owner/name', undefined, one.context), /a.gguf$/)
})

t.test('a repository without a model is refused before a byte is fetched', async (t) => {
  const cases: [ReadonlyMap<string, string | Buffer>, RegExp][] = [
    [new Map([['pytorch_model.bin', 'x']]), /neither safetensors nor GGUF/],
    [tinyFiles({ 'tokenizer.json': null }), /has no tokenizer.json/],
    [tinyFiles({ 'config.json': null }), /has no config.json/],
  ]
  for (const [files, message] of cases) {
    const { hub, context, folder } = await start(t, files)
    await t.rejects(fetchFromHub('owner/name', undefined, context), { kind: 'not_found', message })
    t.equal(hub.requests.filter(({ path }) => path.includes('/resolve/')).length, 0)
    t.equal(existsSync(folder), false)
  }
})

t.test('a busy hub is asked again, a lying one is refused, and the next run goes on', async (t) => {
  const { hub, context, folder } = await start(t, tinyFiles())
  hub.faults.set('list', [
    { kind: 'status', status: 500 },
    { kind: 'status', status: 502 },
  ])
  hub.lies.set('model.safetensors', { oid: 'f'.repeat(64) })
  await t.rejects(fetchFromHub('owner/name', undefined, context), {
    kind: 'corrupt',
    message: /model.safetensors: what arrived has the sha256/,
  })
  t.equal(existsSync(join(folder, 'refs', 'main')), false)
  hub.lies.clear()
  await fetchFromHub('owner/name', undefined, context)
  t.equal(hub.transfersOf('tokenizer.json').length, 1, 'what was right is not fetched again')

  hub.faults.set('list', Array(5).fill({ kind: 'status', status: 500 }))
  await t.rejects(fetchFromHub('owner/name', undefined, context), {
    name: 'ModelFetchError',
    kind: 'server',
  })
  t.equal(hub.faults.get('list')?.length, 2)
})

t.test('a size that no disk has room for is refused first', async (t) => {
  const { hub, context } = await start(t, tinyFiles())
  hub.lies.set('model.safetensors', { size: 2 ** 52 })
  await t.rejects(fetchFromHub('owner/name', undefined, context), {
    kind: 'disk',
    message: /needs 45035996\d+ more bytes and .* has room for \d+. Set HF_HOME/,
  })
  t.equal(hub.transfersOf('config.json').length, 0)
})

t.test('two at once: one fetches, the other waits and finds it', async (t) => {
  const { hub, context } = await start(t, tinyFiles())
  hub.faults.set('model.safetensors', [{ kind: 'cut', fraction: 0.5 }])
  const paths = await Promise.all([
    fetchFromHub('owner/name', undefined, context),
    fetchFromHub('owner/name', undefined, context),
  ])
  t.equal(paths[0], paths[1])
  t.same(context.notes, ['Another process is fetching owner/name; waiting for it.'])
  t.same(
    hub.transfersOf('model.safetensors').map(({ range }) => range === undefined),
    [true, false],
  )
})
