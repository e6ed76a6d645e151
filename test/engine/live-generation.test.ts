import t from 'tap'
import { frameHeaderBytes } from '../../engine/frame-layout.js'
import { stepFinish } from '../../engine/frames-from-core.js'
import { decodeToCore } from '../../engine/frames-to-core.js'
import type { Delta } from '../../engine/generate-request.js'
import { GenerationText } from '../../engine/generation-text.js'
import { LiveGeneration } from '../../engine/live-generation.js'
import { byteTokens } from './support/byte-tokens.js'
import { makeSubmission } from './support/submissions.js'

const { none, stop, length, failed } = stepFinish

t.test('an answer that the model ends: its last token counts and is not shown', async (t) => {
  const { generation, events } = make()
  generation.receiveToken(0x61, none, 16)
  generation.receiveToken(257, stop, 16)
  const [delta] = await collect(generation)
  t.same(delta, {
    text: 'a',
    numTokens: 2,
    finish: {
      reason: 'stop',
      usage: { numPromptTokens: 3, numCachedTokens: 16, numCompletionTokens: 2 },
    },
  })
  t.same(events, ['first token', 'end, core done'])
})

t.test('an answer that is cut: held-back text is shown', async (t) => {
  const { generation } = make(['ab'])
  generation.receiveToken(0x61, length, 0)
  t.match(await collect(generation), [{ text: 'a', finish: { reason: 'length' } }])
})

t.test('a stop string ends the sequence in the core as well', async (t) => {
  const { generation, events } = make(['stop'])
  generation.receiveToken(257, none, 0)
  generation.receiveToken(0x61, none, 0)
  t.match(await collect(generation), [
    {
      text: ' ',
      finish: { reason: 'stop', stopString: 'stop', usage: { numCompletionTokens: 1 } },
    },
  ])
  t.same(events, ['first token', 'end, core not done'])
})

t.test('a stop string in the very last token wins over its length', async (t) => {
  const { generation, events } = make(['stop'])
  generation.receiveToken(257, length, 0)
  t.match(await collect(generation), [{ finish: { reason: 'stop', stopString: 'stop' } }])
  t.same(events, ['first token', 'end, core done'])
})

t.test('a sequence that fails gives an error, after the text that it has', async (t) => {
  const { generation, events } = make()
  generation.receiveToken(0x61, none, 0)
  generation.receiveToken(-1, failed, 0)
  t.match(await generation.deltas.next(), { value: { text: 'a' } })
  await t.rejects(generation.deltas.next(), { code: 'engine_failed' })
  t.same(events, ['first token', 'end, core done'])
})

t.test('a reader that leaves ends the sequence in the core, once', async (t) => {
  const { generation, events } = make()
  generation.cancel(new Error('gone'))
  generation.cancel(new Error('gone'))
  generation.receiveToken(0x61, none, 0)
  await t.rejects(generation.deltas.next(), /gone/)
  t.same(events, ['end, core not done'])

  const broken = make()
  await broken.generation.deltas.return()
  t.same(broken.events, ['end, core not done'])
})

t.test('a reader that stops reading is let go at a bound', async (t) => {
  const { generation, events } = make()
  for (let i = 0; i <= 256 * 1024; i++) generation.receiveToken(0x61, none, 0)
  t.same(events, ['first token', 'end, core not done'])
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
  shown.receiveToken(0x61, none, 0)
  t.equal(shown.canBeResubmitted, false)
  t.end()
})

function make(stopStrings: readonly string[] = []) {
  const events: string[] = []
  const text = new GenerationText(byteTokens, stopStrings, 0)
  const generation = new LiveGeneration(makeSubmission(), text, {
    onFirstToken: () => events.push('first token'),
    onEnd: (isCoreDone) => events.push(isCoreDone ? 'end, core done' : 'end, core not done'),
  })
  return { generation, events }
}

async function collect(generation: LiveGeneration): Promise<Delta[]> {
  const deltas: Delta[] = []
  for await (const delta of generation.deltas) deltas.push(delta)
  return deltas
}
