import { readFileSync } from 'node:fs'
import t from 'tap'
import { askStreamed, askWhole } from '../support/chat-requests.js'
import { isAlive, until } from '../support/processes.js'
import { type ServerProcess, spawnServer, startServer } from '../support/server-process.js'

const longAnswer = { content: 'Go on and on.', maxTokens: 950 }
const shortAnswer = { content: 'In short?', maxTokens: 5 }

t.test('the core is killed in mid-stream', async (t) => {
  const server = await startServer(t)
  const client = server.client()
  const expected = await askWhole(client, shortAnswer)
  const { corePid } = await server.state()
  let hasBegun = false
  const broken = askStreamed(client, longAnswer, undefined, () => {
    if (!hasBegun) process.kill(corePid, 'SIGKILL')
    hasBegun = true
  })
  const rejected = t.rejects(broken, { code: 'engine_failed' }, 'the stream says so')
  await until(() => hasBegun)
  const noticedMs = await until(async () => (await server.status('/ready')) === 503)
  t.ok(noticedMs < 1000, `/ready is 503 after ${Math.round(noticedMs)} ms`)
  t.equal(await server.status('/health'), 200, 'the front lives and has not given up')
  await rejected
  const servingMs = await until(async () => (await server.status('/ready')) === 200)
  t.comment(`serving again after ${Math.round(noticedMs + servingMs)} ms`)
  t.same(await askWhole(client, shortAnswer), expected)
  const state = await server.state()
  t.equal(state.numCoreRestarts, 1)
  t.not(state.corePid, corePid)
  t.ok(await server.isQuiet())
})

t.test('the core hangs: it is noticed, killed and replaced', async (t) => {
  const server = await startServer(t)
  const client = server.client()
  const { corePid } = await server.state()
  let hasBegun = false
  const broken = askStreamed(client, longAnswer, undefined, () => {
    if (!hasBegun) process.kill(corePid, 'SIGSTOP')
    hasBegun = true
  })
  const rejected = t.rejects(broken, {
    code: 'engine_failed',
    message: /ended during this request/,
  })
  await until(() => hasBegun)
  const ms = await until(() => !isAlive(corePid), 20_000)
  t.ok(ms > 9_000 && ms < 12_000, `killed after ${Math.round(ms)} ms`)
  await rejected
  t.match(server.output, /taken to hang/, 'the reason is for the log')
  await until(async () => (await server.status('/ready')) === 200)
  t.equal((await askWhole(client, shortAnswer)).numCompletionTokens, 5)
})

t.test('the front is killed: no orphan after a second, whatever the core is doing', async (t) => {
  const idle = await startServer(t)
  const { corePid } = await idle.state()
  await expectNoOrphan(idle, corePid)

  const busy = await startServer(t)
  const busyPid = (await busy.state()).corePid
  let hasBegun = false
  const answer = askStreamed(busy.client(), longAnswer, undefined, () => {
    hasBegun = true
  })
  const rejected = t.rejects(answer, 'the connection breaks')
  await until(() => hasBegun)
  await expectNoOrphan(busy, busyPid)
  await rejected

  const loading = spawnServer(t)
  let childPid: number | undefined
  await until(() => {
    childPid = childrenOf(loading.pid)[0]
    return childPid !== undefined
  })
  await expectNoOrphan(loading, childPid!)

  async function expectNoOrphan(server: ServerProcess, pid: number): Promise<void> {
    t.equal(isAlive(pid), true)
    server.kill('SIGKILL')
    await server.exited
    const ms = await until(() => !isAlive(pid))
    t.ok(ms < 1000, `the core is gone after ${Math.round(ms)} ms`)
  }
})

t.test('SIGTERM: the admitted is finished, the new refused, the exit is 0', async (t) => {
  const server = await startServer(t)
  const client = server.client()
  const { corePid } = await server.state()
  const begun = new Set<number>()
  const answers = Array.from({ length: 6 }, (_, i) =>
    askStreamed(client, { content: `Stream ${i}`, maxTokens: 900 }, undefined, () => {
      if (begun.has(i)) return
      begun.add(i)
      // Held still while the test looks at a server that drains.
      if (begun.size === 6) process.kill(corePid, 'SIGSTOP')
    }),
  )
  await until(() => begun.size === 6)
  server.kill('SIGTERM')
  await until(async () => (await server.status('/ready')) === 503)
  await t.rejects(askWhole(client, shortAnswer), { status: 503, code: 'shutting_down' })
  process.kill(corePid, 'SIGCONT')
  for (const answer of answers) {
    t.match(await answer, { finishReason: 'length', numCompletionTokens: 900 })
  }
  t.equal(await server.exited, 0)
  await until(() => !isAlive(corePid), 1000)
})

t.test('SIGTERM while an answer is longer than there is time', async (t) => {
  const server = await startServer(t, ['--drain-timeout', '100ms', '--max-sequences', '1'])
  const client = server.client()
  const answers = Array.from({ length: 12 }, () => askStreamed(client, longAnswer))
  const settled = Promise.allSettled(answers)
  await until(async () => (await server.state()).numWaiting >= 8)
  server.kill('SIGTERM')
  const results = await settled
  const failed = results.filter((result) => result.status === 'rejected')
  t.ok(failed.length > 0)
  t.ok(failed.every(({ reason }) => reason.code === 'shutting_down'))
  t.equal(await server.exited, 0)
})

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return text.split(' ').filter(Boolean).map(Number)
}
