import { mkdirSync, readFileSync, readlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { CachedRepository } from '../../../engine/model/hub-cache.js'
import type { HubFile } from '../../../engine/model/hub-list.js'
import { tinyFiles, writeFolder } from './support/tiny-models.js'

const OLD = 'a'.repeat(40)
const NEW = 'b'.repeat(40)

t.test('the layout that the tools of the hub share', async (t) => {
  const root = t.testdir()
  const cache = new CachedRepository(root, 'owner/name')
  const file: HubFile = { path: 'x.json', byteLength: 2, digest: { kind: 'git-sha1', hex: 'd16e' } }
  mkdirSync(join(cache.folder, 'blobs'), { recursive: true })
  writeFileSync(cache.blobPath(file), '{}')
  await cache.link(OLD, file)
  await cache.link(OLD, file)
  await cache.setMain(OLD)
  t.equal(cache.folder, join(root, 'models--owner--name'))
  t.equal(readlinkSync(join(cache.folder, 'snapshots', OLD, 'x.json')), '../../blobs/d16e')
  t.equal(readFileSync(join(cache.folder, 'refs', 'main'), 'utf8'), OLD)
  t.equal(await cache.find('x.json'), join(cache.snapshotPath(OLD), 'x.json'))
})

t.test('main comes first, then the newest that is whole', async (t) => {
  const cache = new CachedRepository(t.testdir(), 'owner/name')
  t.equal(await cache.find(undefined), undefined)
  writeFolder(cache.snapshotPath(OLD), tinyFiles())
  writeFolder(cache.snapshotPath(NEW), tinyFiles())
  utimesSync(cache.snapshotPath(OLD), 1, 1)
  t.equal(await cache.find(undefined), cache.snapshotPath(NEW))
  await cache.setMain(OLD)
  t.equal(await cache.find(undefined), cache.snapshotPath(OLD))
})

t.test('half a model is not found', async (t) => {
  const index = JSON.stringify({ weight_map: { a: 'one.safetensors', b: 'two.safetensors' } })
  const sharded = {
    'model.safetensors': null,
    'model.safetensors.index.json': index,
    'one.safetensors': 'x',
  }
  const cases: [string, Parameters<typeof tinyFiles>[0], boolean][] = [
    ['no weights', { 'model.safetensors': null }, false],
    ['no tokenizer', { 'tokenizer.json': null }, false],
    ['one shard of two', sharded, false],
    ['both shards', { ...sharded, 'two.safetensors': 'x' }, true],
    ['optional files', { 'generation_config.json': null }, true],
  ]
  for (const [name, changes, isWhole] of cases) {
    const cache = new CachedRepository(join(t.testdir(), name), 'owner/name')
    writeFolder(cache.snapshotPath(NEW), tinyFiles(changes))
    t.equal((await cache.find(undefined)) !== undefined, isWhole, name)
  }
})

t.test('one GGUF file is a model, two have to be told apart', async (t) => {
  const cache = new CachedRepository(t.testdir(), 'owner/name')
  const snapshot = writeFolder(cache.snapshotPath(NEW), new Map([['a.gguf', 'x']]))
  t.equal(await cache.find(undefined), snapshot)
  t.equal(await cache.find('a.gguf'), join(snapshot, 'a.gguf'))
  t.equal(await cache.find('b.gguf'), undefined)
  writeFolder(snapshot, new Map([['b.gguf', 'x']]))
  t.equal(await cache.find(undefined), undefined)
})
