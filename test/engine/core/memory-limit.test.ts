import { mkdirSync, writeFileSync } from 'node:fs'
import { totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'
import { readMemoryLimit } from '../../../engine/core/memory-limit.js'

const machine = 1_000_000

t.test('version 2: the tightest limit on the way to the root counts', (t) => {
  const limit = limitOf(t.testdir(), '0::/a/b\n', {
    'a/b/memory.max': '500000\n',
    'a/memory.max': '300000\n',
    'memory.max': 'max\n',
  })
  t.equal(limit, 300_000)
  t.end()
})

t.test('version 1: the memory controller among the others', (t) => {
  const limit = limitOf(t.testdir(), '12:cpu,cpuacct:/x\n4:memory:/x\n0::/\n', {
    'memory/x/memory.limit_in_bytes': '400000',
    'memory/memory.limit_in_bytes': '9223372036854771712',
  })
  t.equal(limit, 400_000)
  t.end()
})

t.test('no limit, a limit above the machine and no control groups give the machine', (t) => {
  t.equal(limitOf(t.testdir(), '0::/a\n', { 'a/memory.max': 'max\n' }), machine)
  t.equal(limitOf(t.testdir(), '0::/a\n', { 'a/memory.max': '2000000\n' }), machine)
  t.equal(limitOf(t.testdir(), '', {}), machine)
  t.equal(readMemoryLimit(machine, '/does/not/exist', '/does/not/exist'), machine)
  t.end()
})

t.test('a container sees only its own root', (t) => {
  const limit = limitOf(t.testdir(), '0::/system.slice/docker-1.scope\n', { 'memory.max': '7000' })
  t.equal(limit, 7000)
  t.end()
})

t.test('this machine has a limit', (t) => {
  const limit = readMemoryLimit()
  t.ok(limit > 0 && limit <= totalmem())
  t.end()
})

function limitOf(folder: string, procText: string, files: Record<string, string>): number {
  const procPath = join(folder, 'proc')
  writeFileSync(procPath, procText)
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, 'fs', path)), { recursive: true })
    writeFileSync(join(folder, 'fs', path), text)
  }
  return readMemoryLimit(machine, procPath, join(folder, 'fs'))
}
