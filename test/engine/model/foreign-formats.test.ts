import { join } from 'node:path'
import t from 'tap'
import { detectFormat, refuseByMagic, refuseByName } from '../../../engine/model/foreign-formats.js'
import { ModelFileError } from '../../../engine/model/model-description.js'
import { safetensorsOf } from './support/build-safetensors.js'
import { MemoryBytes } from './support/memory-bytes.js'

t.test('refused by name, in any case of letters (F7)', async (t) => {
  for (const name of ['pytorch_model.bin', 'a.pt', 'a.pth', 'a.CKPT', 'a.pkl', 'a.onnx', 'a.py']) {
    t.throws(() => refuseByName(name), ModelFileError, name)
  }
  t.throws(() => refuseByName('m/pytorch_model.bin'), /is a PyTorch pickle. Only safetensors and/)
  for (const name of ['a.gguf', 'a.safetensors', 'bin', 'a.bin.gguf']) {
    t.doesNotThrow(() => refuseByName(name), name)
  }
})

t.test('refused by the first bytes, whatever the name', async (t) => {
  const heads: [string, Buffer][] = [
    ['pickle 2', Buffer.from([0x80, 2, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46])],
    ['pickle 4', Buffer.from([0x80, 4, 0x95, 0x1a, 0, 0, 0, 0, 0])],
    ['pickle 2, a dict', Buffer.from([0x80, 2, 0x7d, 0x71, 0, 0x2e])],
    ['zip archive', Buffer.from('PK\x03\x04rest', 'latin1')],
    ['gzip', Buffer.from([0x1f, 0x8b, 8])],
    ['HDF5', Buffer.from('\x89HDF\r\n', 'latin1')],
    ['LFS pointer', Buffer.from('version https://git-lfs')],
    ['before GGUF', Buffer.from('ggjt')],
  ]
  for (const [name, head] of heads) {
    t.throws(() => refuseByMagic(new MemoryBytes(head)), ModelFileError, name)
  }
})

t.test('a safetensors header of 640 bytes opens as a pickle does, and is none', async (t) => {
  for (const version of [2, 3, 4, 5]) {
    const length = version * 256 + 0x80
    const bytes = safetensorsOf('{'.padEnd(length), Buffer.alloc(0))
    t.equal(bytes[0], 0x80)
    t.equal(bytes[1], version)
    t.doesNotThrow(() => refuseByMagic(new MemoryBytes(bytes)))
  }
})

t.test('a format is told by content', async (t) => {
  const folder = t.testdir({ a: 'GGUF....', b: '{}', empty: '', 'c.gguf': 'PK\x03\x04' })
  t.equal(detectFormat(join(folder, 'a')), 'gguf')
  t.equal(detectFormat(join(folder, 'b')), 'unknown')
  t.equal(detectFormat(join(folder, 'empty')), 'unknown')
  t.throws(() => detectFormat(join(folder, 'c.gguf')), /is a zip archive/)
})
