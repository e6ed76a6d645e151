import t from 'tap'
import { frameHeaderBytes } from '../../engine/frame-layout.js'
import { stepFinish } from '../../engine/frames-from-core.js'
import { decodeToCore } from '../../engine/frames-to-core.js'
import type { Delta } from '../../engine/generate-request.js'
import { GenerationText } from '../../engine/generation-text.js'
import { LiveGeneration } from '../../engine/live-generation.js'
import { byteTokens } from './support/byte-tokens.js'
import { makeSubmission } from './support/submissions.js'

const { none, stop, length, failed, queue_timeout } = stepFinish

t.test('an answer that the model ends: its last token counts and is not shown', async (t) => {
  const { generation, events } = make()
  generation.receiveToken(1, 0x61, none, 16)
  generation.receiveToken(1, 257, stop, 16)
  const [delta] = await collect(generation)
  t.same(delta, {
    choice: 0,
    text: 'a',
    numTokens: 2,
    finish: { reason: 'stop' },
    usage: { numPromptTokens: 3, numCachedTokens: 16, numCompletionTokens: 2 },
  })
  t.same(events, ['first token', '1 done in core', 'end'])
})

t.test('an answer that is cut: held-back text is shown', async (t) => {
  const { generation } = make(['ab'])
  generation.receiveToken(1, 0x61, length, 0)
  t.match(await collect(generation), [{ text: 'a', finish: { reason: 'length' } }])
})

t.test('a stop string ends the sequence in the core as well', async (t) => {
  const { generation, events } = make(['stop'])
  generation.receiveToken(1, 257, none, 0)
  generation.receiveToken(1, 0x61, none, 0)
  t.match(await collect(generation), [
    {
      text: ' ',
      finish: { reason: 'stop', stopString: 'stop' },
      usage: { numCompletionTokens: 1 },
    },
  ])
  t.same(events, ['first token', '1 ended here', 'end'])
})

t.test('a stop string in the very last token wins over its length', async (t) => {
  const { generation, events } = make(['stop'])
  generation.receiveToken(1, 257, length, 0)
  t.match(await collect(generation), [{ finish: { reason: 'stop', stopString: 'stop' } }])
  t.same(events, ['first token', '1 done in core', 'end'])
})

t.test('a sequence that fails gives an error, after the text that it has', async (t) => {
  const { generation, events } = make()
  generation.receiveToken(1, 0x61, none, 0)
  generation.receiveToken(1, -1, failed, 0)
  t.match(await generation.deltas.next(), { value: { text: 'a' } })
  await t.rejects(generation.deltas.next(), { code: 'engine_failed' })
  t.same(events, ['first token', '1 done in core', 'end'])
})

t.test('a reader that leaves ends the sequence in the core, once', async (t) => {
  const { generation, events } = make()
  generation.cancel(new Error('gone'))
  generation.cancel(new Error('gone'))
  generation.receiveToken(1, 0x61, none, 0)
  await t.rejects(generation.deltas.next(), /gone/)
  t.same(events, ['1 ended here', 'end'])

  const broken = make()
  await broken.generation.deltas.return()
  t.same(broken.events, ['1 ended here', 'end'])
})

t.test('a reader that stops reading is let go at a bound', async (t) => {
  const { generation, events } = make()
  for (let i = 0; i <= 256 * 1024; i++) generation.receiveToken(1, 0x61, none, 0)
  t.same(events, ['first token', '1 ended here', 'end'])
  t.match(await generation.deltas.next(), { value: { numTokens: 256 * 1024 + 1 } })
  await t.rejects(generation.deltas.next(), { code: 'engine_failed', message: /not read/ })
})

t.test('only what was not shown and was not in two deaths is handed on', (t) => {
  const { generation } = make()
  const frame = generation.takeSubmitFrame()
  const message = decodeToCore(frame.readUInt8(4), frame.subarray(frameHeaderBytes))
  t.match(message, { kind: 'submit', submission: { id: 1 } })
  t.equal(generation.canBeResubmitted, true)
  generation.takeSubmitFrame()
  t.equal(generation.canBeResubmitted, false)

  const shown = make().generation
  shown.takeSubmitFrame()
  shown.receiveToken(1, 0x61, none, 0)
  t.equal(shown.canBeResubmitted, false)
  t.end()
})

t.test('choices: each its own text and end; counts are summed and told once', async (t) => {
  const { generation, events } = make(['stop'], 3)
  generation.receiveToken(1, 0x61, none, 16)
  generation.receiveToken(2, 0x62, none, 16)
  generation.receiveToken(3, 257, none, 16)
  t.same(events, ['first token', '3 ended here'], 'a stop string ends its own sequence alone')
  generation.receiveToken(3, 0x7a, none, 16)
  generation.receiveToken(1, 0x63, length, 16)
  generation.receiveToken(2, 257, stop, 16)
  t.same(events.slice(2), ['1 done in core', '2 done in core', 'end'])
  t.same(await collect(generation), [
    { choice: 0, text: 'ac', numTokens: 2, finish: { reason: 'length' } },
    { choice: 1, text: 'b', numTokens: 2, finish: { reason: 'stop' } },
    {
      choice: 2,
      text: ' ',
      numTokens: 1,
      finish: { reason: 'stop', stopString: 'stop' },
      usage: { numPromptTokens: 3, numCachedTokens: 16, numCompletionTokens: 5 },
    },
  ])
})

t.test('choices: cached tokens are those of the first one', async (t) => {
  const { generation } = make([], 2)
  generation.receiveToken(2, 0x62, length, 32)
  generation.receiveToken(1, 0x61, length, 16)
  t.equal((await collect(generation)).at(-1)!.usage!.numCachedTokens, 16)
})

t.test('choices: one that fails, or a reader that leaves, ends them all', async (t) => {
  const failing = make([], 3)
  failing.generation.receiveToken(1, 0x61, length, 0)
  failing.generation.receiveToken(2, -1, failed, 0)
  t.same(failing.events, ['first token', '1 done in core', '2 done in core', '3 ended here', 'end'])
  t.match(await failing.generation.deltas.next(), { value: { text: 'a' } })
  await t.rejects(failing.generation.deltas.next(), { code: 'engine_failed' })

  const left = make([], 2)
  left.generation.receiveToken(2, 0x61, none, 0)
  t.equal(left.generation.canBeResubmitted, false, 'one choice that shows something is enough')
  left.generation.cancel(new Error('gone'))
  t.same(left.events, ['first token', '1 ended here', '2 ended here', 'end'])
})

t.test('a request that has waited too long is refused as a full queue refuses', async (t) => {
  const { generation, events } = make([], 2)
  generation.receiveToken(1, -1, queue_timeout, 0)
  generation.receiveToken(2, -1, queue_timeout, 0)
  await t.rejects(generation.deltas.next(), { code: 'server_overloaded', message: /not begun/ })
  t.same(events, ['1 done in core', '2 ended here', 'end'])
})

function make(stopStrings: readonly string[] = [], numChoices = 1) {
  const events: string[] = []
  const generation = new LiveGeneration(makeSubmission({ numChoices }), {
    makeText: () => new GenerationText(byteTokens, stopStrings, 0),
    onFirstToken: () => events.push('first token'),
    onChoiceEnd: (id, isCoreDone) =>
      events.push(`${id} ${isCoreDone ? 'done in core' : 'ended here'}`),
    onEnd: () => events.push('end'),
  })
  return { generation, events }
}

async function collect(generation: LiveGeneration): Promise<Delta[]> {
  const deltas: Delta[] = []
  for await (const delta of generation.deltas) deltas.push(delta)
  return deltas
}
