import { execFileSync } from 'node:child_process'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import t from 'tap'
import { loadAddon } from '../../../engine/core/addon.js'

t.test('the addon says what this machine can do', async (t) => {
  const addon = loadAddon()
  const { kernels, names } = addon.cpuFeatures()
  t.ok(['avx512', 'avx2', 'neon', 'portable'].includes(kernels), kernels)
  if (kernels.startsWith('avx'))
    t.ok(names.includes('fma'), 'vector kernels need fused multiply-add')
  const numThreads = addon.defaultNumThreads()
  t.ok(Number.isInteger(numThreads) && numThreads >= 1, `${numThreads} threads`)
})

t.test('KVASIR_ISA chooses narrower kernels, never wider ones', async (t) => {
  const script = `
    import { loadAddon } from ${JSON.stringify(join(process.cwd(), 'dist/engine/core/addon.js'))}
    process.stdout.write(loadAddon().cpuFeatures().kernels)`
  const args = ['--input-type=module', '--eval', script]
  const env = { ...process.env, KVASIR_ISA: 'portable' }
  t.equal(execFileSync(process.execPath, args, { env, encoding: 'utf8' }), 'portable')
})

t.test('a missing addon is a sentence that says what to run', async (t) => {
  const folder = t.testdir({ 'package.json': '{"type":"module"}', dist: { engine: { core: {} } } })
  const copy = join(folder, 'dist/engine/core/addon.js')
  cpSync('dist/engine/core/addon.js', copy)
  const { loadAddon: loadFromElsewhere } = await import(copy)
  t.throws(() => loadFromElsewhere(), { message: /npm run build/ })
})
