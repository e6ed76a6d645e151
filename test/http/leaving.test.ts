import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { askStreamed, askWhole, toParams } from '../support/chat-requests.js'
import { until } from '../support/processes.js'
import { type ServerProcess, startServer } from '../support/server-process.js'

const longAnswer = { content: 'Go on and on.', maxTokens: 950 }
/** Blocks must be back within a step; this is that, the client's socket and a poll. */
const maxMs = 500

t.test('a client that leaves while its answer is made', async (t) => {
  const server = await startServer(t)
  const controller = new AbortController()
  const stream = askStreamed(server.client(), longAnswer, controller.signal, () => {
    controller.abort()
  })
  // The SDK ends an aborted stream without an error.
  const { numCompletionTokens } = await stream
  t.equal(numCompletionTokens, 0, 'it never came to the usage')
  const ms = await until(() => server.isQuiet())
  t.ok(ms < maxMs, `blocks back after ${Math.round(ms)} ms`)
  t.ok((await server.state()).numSteps < longAnswer.maxTokens, 'and not because it was finished')
})

t.test('a client that leaves a whole answer', async (t) => {
  const server = await startServer(t)
  const controller = new AbortController()
  const answer = server
    .client()
    .chat.completions.create(toParams(longAnswer), { signal: controller.signal })
  await until(async () => (await server.state()).numRunning === 1)
  controller.abort()
  await t.rejects(answer, /abort/i)
  const ms = await until(() => server.isQuiet())
  t.ok(ms < maxMs, `blocks back after ${Math.round(ms)} ms`)
  t.ok((await server.state()).numSteps < longAnswer.maxTokens)
})

t.test('a client that leaves the queue', async (t) => {
  const server = await startServer(t, ['--max-sequences', '1'])
  const client = server.client()
  const ahead = Array.from({ length: 12 }, () => askStreamed(client, longAnswer))
  // Eight long answers are ahead of whoever comes now.
  await until(async () => (await server.state()).numWaiting >= 8)
  const controller = new AbortController()
  const leaving = client.chat.completions.create(toParams({ content: 'And me?', maxTokens: 900 }), {
    signal: controller.signal,
  })
  const rejected = t.rejects(leaving, /abort/i)
  await sleep(100)
  t.ok((await server.state()).numWaiting >= 1, 'it is still in the queue')
  controller.abort()
  await rejected
  for (const answer of ahead) t.equal((await answer).numCompletionTokens, 950)
  t.ok(await server.isQuiet())
  const { numSteps } = await server.state()
  t.ok(numSteps < 12 * 950 + 100, `${numSteps} steps: it never ran`)
})

t.test('a client that leaves while its prompt is computed', async (t) => {
  // A chunk of 16 tokens a step and about 900 tokens: the abort lands in one of some 57 steps.
  const server = await startServer(t, ['--max-tokens-per-step', '16'])
  const content = Array.from({ length: 400 }, (_, i) => `${i % 10}`).join(' ')
  const numPrefillSteps = await countPrefillSteps(server, content)
  t.ok(numPrefillSteps > 20, `${numPrefillSteps} steps of prefill`)

  let hasHitPrefill = false
  for (let attempt = 0; attempt < 20 && !hasHitPrefill; attempt++) {
    const before = await server.state()
    await leaveInPrefill(t, server, `${attempt} ${content}`)
    const numSteps = (await server.state()).numSteps - before.numSteps
    hasHitPrefill = numSteps > 0 && numSteps < numPrefillSteps
  }
  t.ok(hasHitPrefill, 'one of the aborts came between the first and the last chunk')
})

t.test('a storm of clients that leave at random times', async (t) => {
  const server = await startServer(t, ['--max-sequences', '8'])
  const client = server.client()
  await Promise.all(
    Array.from({ length: 60 }, async (_, i) => {
      const controller = new AbortController()
      setTimeout(() => controller.abort(), (i * 7) % 200)
      const request = { content: `Client ${i % 9}.`, maxTokens: 300 }
      await askStreamed(client, request, controller.signal).catch(() => {})
    }),
  )
  await until(() => server.isQuiet())
  const { numFreeBlocks, numCachedBlocks, numBlocks } = await server.state()
  t.equal(numFreeBlocks + numCachedBlocks, numBlocks)
  const answer = await askWhole(client, { content: 'Still there?', maxTokens: 3 })
  t.equal(answer.numCompletionTokens, 3)
})

async function countPrefillSteps(server: ServerProcess, content: string): Promise<number> {
  const before = (await server.state()).numSteps
  await askWhole(server.client(), { content: `x ${content}`, maxTokens: 1 })
  return (await server.state()).numSteps - before
}

/**
 * Stops the core as soon as the sequence runs, so that the client can leave while a chunk is being
 * computed, and lets it go on.
 */
async function leaveInPrefill(t: Test, server: ServerProcess, content: string): Promise<void> {
  const { corePid } = await server.state()
  const controller = new AbortController()
  const answer = server
    .client()
    .chat.completions.create(toParams({ content, maxTokens: 500 }), { signal: controller.signal })
  answer.catch(() => {})
  await until(async () => (await server.state()).numRunning === 1)
  process.kill(corePid, 'SIGSTOP')
  controller.abort()
  await sleep(100)
  process.kill(corePid, 'SIGCONT')
  await t.rejects(answer, /abort/i)
  const ms = await until(() => server.isQuiet())
  t.ok(ms < maxMs, `blocks back after ${Math.round(ms)} ms`)
}
