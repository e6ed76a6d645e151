import { execFileSync } from 'node:child_process'
import { symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { FileBytes, withFile } from '../../../engine/model/byte-source.js'
import { ModelFileError } from '../../../engine/model/model-description.js'

t.test('reads the bytes asked for and no others', async (t) => {
  const path = join(t.testdir({ file: 'abcdef' }), 'file')
  withFile(path, (source) => {
    t.equal(source.byteLength, 6)
    t.equal(source.read(2, 3).toString(), 'cde')
    t.equal(source.read(6, 0).byteLength, 0)
    t.throws(() => source.read(4, 3), /needs 3 bytes at offset 4, but the file ends at 6/)
  })
})

t.test('a file that shrinks while it is read is noticed', async (t) => {
  const path = join(t.testdir({ file: 'abcdef' }), 'file')
  withFile(path, (source) => {
    truncateSync(path, 2)
    t.throws(() => source.read(0, 6), /shrank while it was being read/)
  })
})

t.test('only regular files are opened, and a FIFO does not hold us up', async (t) => {
  const folder = t.testdir({ file: 'abc', inner: {} })
  symlinkSync('file', join(folder, 'link'))
  execFileSync('mkfifo', [join(folder, 'fifo')])
  const cases: [string, RegExp][] = [
    ['link', /symbolic link/],
    ['fifo', /not a regular file/],
    ['inner', /not a regular file/],
    ['absent', /does not exist/],
  ]
  for (const [name, message] of cases) {
    t.throws(() => new FileBytes(join(folder, name)), message, name)
    t.throws(() => new FileBytes(join(folder, name)), ModelFileError, name)
  }
  t.throws(() => new FileBytes('/dev/null'), /not a regular file/)
})

t.test('the descriptor is closed when the reader throws', async (t) => {
  const path = join(t.testdir({ file: 'abc' }), 'file')
  writeFileSync(path, 'abc')
  let read = (): unknown => undefined
  t.throws(
    () =>
      withFile(path, (source) => {
        read = () => source.read(0, 1)
        throw new Error('reader')
      }),
    /reader/,
  )
  t.throws(() => read(), /EBADF/)
})
