import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import t from 'tap'

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  encoding: 'utf8',
})
  .split('\n')
  .filter((path) => path !== '' && existsSync(path))

const matching = (pattern: RegExp) => files.filter((path) => pattern.test(path))
const read = (path: string) => readFileSync(path, 'utf8')

/** Files of types and named limits alone hold nothing to run: the compiler is their test. */
function isPureTypes(path: string): boolean {
  const code = read(`dist/${path.replace(/\.ts$/, '.js')}`).replace(/^\/\/.*$/gm, '')
  const statements = code
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .trim()
    .split('\n')
  return statements.every((line) => /^export (\{\}|const \w+ = \d+);$/.test(line))
}

t.test('every source file has its mirrored test', async (t) => {
  for (const path of matching(/^(server|engine|scheduler)\/.*\.ts$/)) {
    if (isPureTypes(path)) continue
    const test = `test/${path.replace(/\.ts$/, '.test.ts')}`
    t.ok(existsSync(test), `${test} is there`)
  }
})

t.test('an operator is three files: contract, CPU version, test', async (t) => {
  for (const header of matching(/^kernels\/[a-z_0-9]+\.h$/)) {
    const stem = header.slice('kernels/'.length, -'.h'.length)
    if (!existsSync(`kernels/${stem}.cpp`)) continue
    t.ok(existsSync(`test/kernels/${stem}_test.cpp`), `test/kernels/${stem}_test.cpp is there`)
  }
  // What is fused for one device alone carries its name and has no twin on the other.
  for (const source of matching(/^kernels\/(?!cuda_)[a-z_0-9]+\.cu$/)) {
    const stem = source.slice(0, -'.cu'.length)
    t.ok(existsSync(`${stem}.h`) && existsSync(`${stem}.cpp`), `${source} has its twin`)
  }
})

t.test('only two files know Node-API', async (t) => {
  const including = matching(/\.(cpp|h)$/).filter((path) => /#include <napi\.h>/.test(read(path)))
  t.strictSame(including.sort(), ['native/addon.cpp', 'native/model_handle.cpp'])
})

t.test('C++ files stay within 400 lines of 100 columns, CUDA files within 600', async (t) => {
  for (const path of matching(/\.(cpp|h|cu|cuh)$/)) {
    const lines = read(path).split('\n')
    const maxLines = /\.cuh?$/.test(path) ? 600 : 400
    t.ok(lines.length <= maxLines + 1, `${path}: ${lines.length} lines`)
    t.notOk(
      lines.find((line) => line.length > 100),
      `${path}: no line over 100 columns`,
    )
  }
})

t.test('no unfinished work is left in the code', async (t) => {
  const marker = new RegExp(
    `\\b(${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK'].join('|')})\\b`,
  )
  for (const path of matching(
    /^(server|engine|scheduler|native|kernels|test|bench|scripts)\/.*\.(ts|mjs|cpp|h|cuh?)$/,
  )) {
    t.notMatch(read(path), marker, path)
  }
})

t.test('each document has exactly one title', async (t) => {
  for (const path of matching(/^(docs\/.*|README|CONTRIBUTING|CHANGELOG)(\.md)$/)) {
    const prose = read(path).replace(/^```[\s\S]*?^```/gm, '')
    t.equal(prose.match(/^# /gm)?.length, 1, path)
  }
})

t.test('each decision record has a number and a status', async (t) => {
  const records = readdirSync('docs/adr')
  t.ok(records.length >= 5)
  for (const record of records) {
    t.match(record, /^\d{4}-[a-z0-9-]+\.md$/)
    t.match(read(`docs/adr/${record}`), /^Status: (accepted|superseded by \d{4})$/m, record)
  }
  t.equal(new Set(records.map((name) => name.slice(0, 4))).size, records.length, 'numbers differ')
})

t.test('the lock file names no download address', async (t) => {
  t.notMatch(read('package-lock.json'), /"resolved": "https?:/)
})

t.test('every dependency is pinned to one version', async (t) => {
  const { dependencies, devDependencies } = JSON.parse(read('package.json'))
  for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
    t.match(version, /^\d+\.\d+\.\d+$/, name)
  }
})
