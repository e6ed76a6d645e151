import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ModelFileError } from '../../../engine/model/model-description.js'
import { ModelFolder } from '../../../engine/model/model-folder.js'

t.test('plain names are found, paths are refused (F10)', async (t) => {
  const root = t.testdir({ secret: 'x', model: { 'config.json': '{}' } })
  const folder = new ModelFolder(join(root, 'model'))
  t.equal(folder.find('config.json'), join(folder.path, 'config.json'))
  t.equal(folder.find('absent'), undefined)
  t.throws(() => folder.require('absent'), /absent: is missing from the folder/)
  for (const name of ['../secret', '/etc/passwd', '..', '.', '', 'a/b', 'a\0b', 'a\\b', 'x y']) {
    t.throws(() => folder.find(name), ModelFileError, JSON.stringify(name))
  }
})

t.test('a link may not lead out of the folder', async (t) => {
  const root = t.testdir({ secret: '{}', model: { 'real.json': '{}' } })
  const model = join(root, 'model')
  symlinkSync('real.json', join(model, 'inside.json'))
  symlinkSync('../secret', join(model, 'outside.json'))
  symlinkSync('nowhere', join(model, 'broken.json'))
  symlinkSync('loop.json', join(model, 'loop.json'))
  const folder = new ModelFolder(model)
  t.equal(folder.find('inside.json'), join(folder.path, 'real.json'))
  t.throws(() => folder.find('outside.json'), /leads out of the model folder/)
  t.throws(() => folder.find('broken.json'), /leads nowhere/)
  t.throws(() => folder.find('loop.json'), /leads nowhere/)
})

t.test("a snapshot of the hub's cache links to its own repository's blobs only", async (t) => {
  const root = t.testdir({ 'models--a--b': {}, 'models--a--c': { blobs: { x: '{}' } } })
  const snapshot = join(root, 'models--a--b', 'snapshots', 'abc')
  mkdirSync(snapshot, { recursive: true })
  mkdirSync(join(root, 'models--a--b', 'blobs'))
  writeFileSync(join(root, 'models--a--b', 'blobs', 'x'), '{}')
  symlinkSync('../../blobs/x', join(snapshot, 'good.json'))
  symlinkSync('../../../models--a--c/blobs/x', join(snapshot, 'bad.json'))
  const folder = new ModelFolder(snapshot)
  t.same(folder.readJson('good.json', 10), {})
  t.throws(() => folder.readJson('bad.json', 10), /leads out of the model folder/)
})

t.test('a file is read up to its limit', async (t) => {
  const folder = new ModelFolder(t.testdir({ 'a.json': '{"a":1}', inner: {} }))
  t.same(folder.readJson('a.json', 7), { a: 1 })
  t.throws(() => folder.readJson('a.json', 6), /has 7 bytes, the limit is 6/)
  t.throws(() => folder.readBytes('inner', 6), /not a regular file/)
  t.equal(folder.readJson('b.json', 6), undefined)
})
