import { PassThrough } from 'node:stream'
import t from 'tap'
import { doctor } from '../../../server/commands/doctor.js'

t.test('says what this machine has and whether it can serve', async (t) => {
  const out = new PassThrough()
  const terminal = { out, err: new PassThrough(), env: { CUDACXX: '/no/such/nvcc' } }
  t.equal(await doctor('cpu', terminal as never), 0)
  const text = out.read().toString()
  t.match(
    text,
    new RegExp(`^Node +${process.version.replaceAll('.', '\\.')} on ${process.platform}`),
  )
  t.match(text, /^CPU +\w+ kernels/m)
  t.match(text, /^addon +built for the CPU/m)
  t.match(text, /^serve uses +the CPU, \d+ threads/m)
})
