import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import type { TextAssets } from '../../../engine/model/model-description.js'
import type { TokenizerJob, TokenizerReply } from '../../../engine/text/tokenizer-worker.js'
import { assetsOf, readTemplate } from './text-fixtures.js'

const ENTRY = new URL('../../../engine/text/tokenizer-worker.js', import.meta.url)

function start(assets: TextAssets): Worker {
  const json = Buffer.from(JSON.stringify(assets))
  const shared = new SharedArrayBuffer(json.length)
  new Uint8Array(shared).set(json)
  return new Worker(ENTRY, { workerData: { assets: shared } })
}

async function next(worker: Worker): Promise<TokenizerReply> {
  const [reply] = await once(worker, 'message')
  return reply as TokenizerReply
}

async function ask(worker: Worker, job: TokenizerJob): Promise<TokenizerReply> {
  worker.postMessage(job)
  return await next(worker)
}

t.test('jobs are answered with ids or a refusal', async (t) => {
  const worker = start(assetsOf('smollm', readTemplate('llama3')))
  t.teardown(() => worker.terminate())
  t.strictSame(await next(worker), { kind: 'ready' })
  const done = await ask(worker, { id: 7, kind: 'text', text: 'Hello' })
  t.match(done, { kind: 'done', id: 7 })
  t.ok(done.kind === 'done' && done.tokenIds instanceof Int32Array && done.tokenIds.length > 0)
  const messages = [{ role: 'developer' as const, content: 'a' }]
  t.match(await ask(worker, { id: 8, kind: 'chat', messages: [...messages, ...messages] }), {
    kind: 'refused',
    id: 8,
    code: 'invalid_template_input',
    message: /Unknown role: system/,
  })
})

t.test('an error that is no refusal is told as a fault', async (t) => {
  const worker = start(assetsOf('smollm', readTemplate('llama3')))
  t.teardown(() => worker.terminate())
  await next(worker)
  const job = { id: 9, kind: 'text', text: {} as unknown as string } as const
  const reply = await ask(worker, job)
  t.match(reply, { kind: 'failed', id: 9, reason: /TypeError/ })
  t.notOk('message' in reply || 'code' in reply, 'nothing in it is for a client')
})

t.test('a thread that cannot use its assets says so and ends', async (t) => {
  const worker = start(assetsOf('smollm', '{% broken'))
  const [reply, [code]] = await Promise.all([next(worker), once(worker, 'exit')])
  t.match(reply, { kind: 'unusable', message: /tokenizer: chat_template: cannot be parsed/ })
  t.equal(code, 0)
})
