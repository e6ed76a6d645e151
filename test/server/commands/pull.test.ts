import t from 'tap'
import { fetchModel, pull } from '../../../server/commands/pull.js'

const fixture = 'test/fixtures/models/llama-tiny/f32'

function terminal() {
  const written = { out: '', err: '' }
  return {
    written,
    out: { write: (text: string) => (written.out += text) },
    err: { write: (text: string) => (written.err += text) },
    env: { HOME: '/nonexistent' },
  }
}

t.test('a model that is here already: its path, alone, on standard output', async (t) => {
  const io = terminal()
  t.equal(await pull(fixture, false, io), 0)
  t.match(io.written.out, /^\/.*llama-tiny\/f32\n$/)
  t.equal(io.written.err, '')
})

t.test('offline, what is not here is refused with what to do', async (t) => {
  const io = terminal()
  await t.rejects(fetchModel('owner/name', true, io), { kind: 'offline', message: /kvasir pull/ })
})
