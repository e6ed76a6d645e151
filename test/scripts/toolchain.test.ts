import { spawnSync } from 'node:child_process'
import { chmodSync } from 'node:fs'
import { delimiter } from 'node:path'
import process from 'node:process'
import t, { type Test } from 'tap'

/** Runs one of scripts/toolchain.mjs's checks where only the given programs exist. */
function runCheck(
  t: Test,
  check: string,
  programs: Record<string, string>,
  variables: Record<string, string> = {},
) {
  const scripts = Object.entries(programs).map(([name, line]) => [
    name,
    `#!/bin/sh\necho "${line}"\n`,
  ])
  const folder = t.testdir(Object.fromEntries(scripts))
  for (const name of Object.keys(programs)) chmodSync(`${folder}/${name}`, 0o755)
  const print = 'result && console.log(JSON.stringify(result))'
  const call = `tools.${check}()`
  const code = `import('./scripts/toolchain.mjs').then((tools) => { const result = ${call}; ${print} })`
  const env = { PATH: [folder].join(delimiter), ...variables }
  const options = { env, encoding: 'utf8' } as const
  const { status, stderr, stdout } = spawnSync(process.execPath, ['-e', code], options)
  return { status, stderr, stdout }
}

const complete = { 'c++': 'g++ 12.2.0', make: 'GNU Make 4.3', cmake: 'cmake version 3.25.1' }

t.test('a machine with everything is not talked to', async (t) => {
  t.strictSame(runCheck(t, 'requireCompilers', complete), {
    status: 0,
    stderr: '',
    stdout: '',
  })
})

for (const [missing, packageName] of [
  ['c++', 'g++'],
  ['make', 'make'],
  ['cmake', 'cmake'],
] as const) {
  t.test(`without ${missing}: one sentence that names the package`, async (t) => {
    const { [missing]: _, ...rest } = complete
    const { status, stderr } = runCheck(t, 'requireCompilers', { ...rest, 'apt-get': 'apt 2.6' })
    t.equal(status, 1)
    t.equal(stderr.split('\n').length, 2, 'one line')
    t.match(stderr, `sudo apt-get install ${packageName}`)
  })
}

t.test('a CMake that is too old is named, with the oldest that will do', async (t) => {
  const { stderr } = runCheck(t, 'requireCompilers', { ...complete, cmake: 'cmake version 3.16.3' })
  t.match(stderr, /cmake version 3\.16\.3 is too old: 3\.20 or newer/)
})

t.test('without a known package manager the sentence still says what to install', async (t) => {
  const { cmake: _, ...rest } = complete
  t.match(runCheck(t, 'requireCompilers', rest).stderr, 'install the package cmake')
})

const nvcc = (version: string) => ({
  nvcc: `Cuda compilation tools, release ${version}, V${version}.88`,
})
const describe = (t: Test, programs: Record<string, string>, variables = {}) =>
  runCheck(t, 'describeCuda(tools.findNvcc()).toString', programs, variables).stdout

t.test('the line about CUDA follows the nvcc on the PATH', async (t) => {
  t.match(describe(t, nvcc('13.0')), 'the CPU and CUDA backends (nvcc 13.0)')
  t.match(
    describe(t, nvcc('12.3')),
    /nvcc is version 12\.3: .*CPU backend alone\. .*12\.4 or newer/,
  )
  t.match(describe(t, nvcc('12.3'), { KVASIR_CUDA: 'off' }), 'KVASIR_CUDA=OFF')
})

t.test('CUDACXX goes before the PATH', async (t) => {
  const CUDACXX = `${t.testdir({})}/no-nvcc`
  t.match(describe(t, nvcc('13.0'), { CUDACXX }), 'nvcc was not found')
})
