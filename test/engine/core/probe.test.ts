import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

t.test('prints one line of JSON and ends', async (t) => {
  const path = fileURLToPath(new URL('../../../engine/core/probe.js', import.meta.url))
  const text = execFileSync(process.execPath, [path], { encoding: 'utf8' })
  t.equal(text.split('\n').length, 2)
  t.match(JSON.parse(text), { cpu: { kernels: String }, numThreads: Number, cuda: {} })
})
