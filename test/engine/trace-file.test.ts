import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { beginTrace, endTrace } from '../../engine/trace-file.js'

t.test('a trace begins anew and is closed at the end', async (t) => {
  const path = join(mkdtempSync(join(tmpdir(), 'kvasir-')), 'trace.json')
  beginTrace(path)
  endTrace(path)
  beginTrace(path)
  t.throws(() => JSON.parse(readFileSync(path, 'utf8')), 'it is open')
  endTrace(path)
  t.match(JSON.parse(readFileSync(path, 'utf8')), [{ ph: 'M', pid: process.pid }])
})

t.test('a place that cannot be written to is named', async (t) => {
  t.throws(() => beginTrace('/no/such/folder/trace.json'), {
    message: /^--trace \/no\/such\/folder\/trace\.json cannot be written: ENOENT.*another file\.$/,
  })
  endTrace('/no/such/folder/trace.json')
})
