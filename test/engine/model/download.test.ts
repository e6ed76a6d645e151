import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { type DownloadJob, download } from '../../../engine/model/download.js'
import { contextFor, refusingUrl } from './support/fetch-context.js'
import { COMMIT, type Fault, HubServer } from './support/hub-server.js'

const CONTENT = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7919) % 251))
const SHA256 = createHash('sha256').update(CONTENT).digest('hex')
const SHA1 = createHash('sha1').update(`blob ${CONTENT.byteLength}\0`).update(CONTENT).digest('hex')

async function start(t: Test, faults: Fault[] = [], change: Partial<DownloadJob> = {}) {
  const hub = await HubServer.start(new Map([['w.gguf', CONTENT]]))
  t.teardown(() => hub.close())
  hub.faults.set('w.gguf', faults)
  const job: DownloadJob = {
    url: `${hub.url}/owner/name/resolve/${COMMIT}/w.gguf`,
    name: 'w.gguf',
    byteLength: CONTENT.byteLength,
    digest: { kind: 'sha256', hex: SHA256 },
    path: join(t.testdir(), 'blobs', SHA256),
    ...change,
  }
  const context = contextFor(t.testdir(), hub.url)
  const ranges = () => hub.transfersOf('w.gguf').map(({ range }) => range)
  const isWhole = () => existsSync(job.path) && readFileSync(job.path).equals(CONTENT)
  const partSize = () => statSync(`${job.path}.incomplete`, { throwIfNoEntry: false })?.size
  return { hub, job, context, ranges, isWhole, partSize }
}

t.test('a file arrives whole, with progress, and is not fetched twice', async (t) => {
  const { job, context, ranges, isWhole, partSize } = await start(t)
  await download(job, context)
  t.ok(isWhole())
  t.equal(partSize(), undefined)
  const done = context.progress.map(({ numBytesDone }) => numBytesDone)
  t.same([done[0], done.at(-1)], [0, 100_000])
  t.same(
    done,
    [...done].sort((a, b) => a - b),
  )
  await download(job, context)
  t.same(ranges(), [undefined])
})

t.test('small files are checked by what git calls them', async (t) => {
  const { job, context, isWhole } = await start(t, [], { digest: { kind: 'git-sha1', hex: SHA1 } })
  await download(job, context)
  t.ok(isWhole())
})

t.test('cut at 30 percent, it goes on where it stopped', async (t) => {
  const { job, context, ranges, isWhole } = await start(t, [{ kind: 'cut', fraction: 0.3 }])
  await download(job, context)
  t.ok(isWhole())
  t.same(ranges(), [undefined, 'bytes=30000-'])
})

t.test('what an earlier run left is used, also by a server that hangs and fails', async (t) => {
  const faults: Fault[] = [
    { kind: 'status', status: 500 },
    { kind: 'hang', fraction: 0.5 },
    { kind: 'silence' },
    { kind: 'status', status: 429 },
  ]
  const { job, context, ranges, isWhole } = await start(t, faults)
  mkdirSync(dirname(job.path))
  writeFileSync(`${job.path}.incomplete`, CONTENT.subarray(0, 40_000))
  await download(job, context)
  t.ok(isWhole())
  t.same(ranges(), ['bytes=40000-', 'bytes=40000-', 'bytes=70000-', 'bytes=70000-', 'bytes=70000-'])
})

t.test('a server that cannot resume sends all again', async (t) => {
  for (const fault of [{ kind: 'ignore-range' }, { kind: 'wrong-range' }] as const) {
    const { job, context, isWhole } = await start(t, [{ kind: 'cut', fraction: 0.3 }, fault])
    await download(job, context)
    t.ok(isWhole(), fault.kind)
  }
})

t.test('the rest of something else is not mistaken for this file', async (t) => {
  const wrong = Buffer.alloc(CONTENT.byteLength, 1)
  for (const size of [40_000, 100_000, 100_000 + 1]) {
    const { job, context, isWhole } = await start(t)
    mkdirSync(dirname(job.path))
    const longer = Buffer.concat([wrong, Buffer.from([1])])
    writeFileSync(`${job.path}.incomplete`, longer.subarray(0, size))
    await download(job, context)
    t.ok(isWhole(), String(size))
  }
})

t.test('wrong bytes once are fetched again, wrong bytes twice are refused', async (t) => {
  const once = await start(t, [{ kind: 'wrong-bytes' }])
  await download(once.job, once.context)
  t.ok(once.isWhole())
  const twice = await start(t, [{ kind: 'wrong-bytes' }, { kind: 'wrong-bytes' }])
  const message = /w.gguf: what arrived has the sha256 [0-9a-f]{64}, the hub lists/
  await t.rejects(download(twice.job, twice.context), { kind: 'corrupt', message })
  t.equal(existsSync(twice.job.path), false)
  t.equal(twice.partSize(), undefined)
})

t.test('a wrong size, listed or sent, never gets the final name', async (t) => {
  const cases: [string, Fault[], Partial<DownloadJob>, RegExp][] = [
    ['listed too small', [], { byteLength: 99_999 }, /lists 99999 bytes, but the server states/],
    ['listed too large', [], { byteLength: 100_001 }, /but the server states 100000/],
    ['sent too much', [{ kind: 'too-much' }], {}, /but the server sent more/],
  ]
  for (const [name, faults, change, message] of cases) {
    const { job, context, ranges, partSize } = await start(t, faults, change)
    await t.rejects(download(job, context), { kind: 'corrupt', message }, name)
    t.equal(existsSync(job.path), false, name)
    t.ok((partSize() ?? 0) <= job.byteLength, name)
    t.equal(ranges().length, 1, name)
  }
})

t.test('gives up after five attempts without a byte, at once where it is hopeless', async (t) => {
  const faults = Array.from({ length: 9 }, (): Fault => ({ kind: 'status', status: 503 }))
  const busy = await start(t, faults)
  await t.rejects(download(busy.job, busy.context), { kind: 'server', message: /answered 503/ })
  t.equal(busy.ranges().length, 5)
  for (const [status, kind] of [
    [404, 'not_found'],
    [403, 'forbidden'],
  ] as const) {
    const { job, context, ranges } = await start(t, [{ kind: 'status', status }])
    await t.rejects(download(job, context), { name: 'ModelFetchError', kind })
    t.equal(ranges().length, 1)
  }
  const { job, context } = await start(t)
  const nobody = { ...job, url: `${await refusingUrl()}/x` }
  await t.rejects(download(nobody, context), { kind: 'unreachable', message: /refused/ })
})

t.test('an abort stops at once and leaves what has arrived', async (t) => {
  const { job, context, partSize } = await start(t, [{ kind: 'hang', fraction: 0.5 }])
  const controller = new AbortController()
  const reason = new Error('enough')
  const onProgress = ({ numBytesDone }: { numBytesDone: number }) => {
    if (numBytesDone >= 50_000) controller.abort(reason)
  }
  const options = { ...context, onProgress, signal: controller.signal }
  await t.rejects(download(job, options), reason)
  t.equal(partSize(), 50_000)
})

t.test('a folder that cannot be made says which and what to do', async (t) => {
  const { job, context } = await start(t)
  const file = join(t.testdir({ file: '' }), 'file')
  await t.rejects(download({ ...job, path: join(file, 'blob') }, context), {
    kind: 'disk',
    message: /file\/blob cannot be made: a file is in the way of a folder/,
  })
})

t.test('the token stays with the endpoint when a file comes from elsewhere', async (t) => {
  const { hub, job } = await start(t)
  const other = await HubServer.start(new Map([['w.gguf', CONTENT]]))
  t.teardown(() => other.close())
  hub.redirectTo = other.url
  const context = contextFor(t.testdir(), hub.url, { HF_TOKEN: 'secret' })
  await download(job, context)
  t.same(
    hub.requests.map(({ authorization }) => authorization),
    ['Bearer secret'],
  )
  t.same(
    other.requests.map(({ authorization }) => authorization),
    [undefined],
  )
})
