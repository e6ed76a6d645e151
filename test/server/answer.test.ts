import t from 'tap'
import type { Delta } from '../../engine/generate-request.js'
import {
  type ChunkFrames,
  collectAnswer,
  newAnswerHead,
  splitTemplate,
  systemFingerprint,
  templateMarker,
  toFrames,
  toUsageWire,
} from '../../server/answer.js'
import { usage } from './engine-double.js'

const model = { id: 'tiny', created: 1, maxContextLen: 128, vocabSize: 512 }
const finish = { reason: 'stop', usage } as const

async function* stream(...deltas: Delta[]): AsyncIterable<Delta> {
  yield* deltas
}

const frames: ChunkFrames = {
  opening: 'O',
  text: (text) => `T(${text})`,
  finish: ({ reason }) => `F(${reason})`,
  usage: ({ total_tokens }) => `U(${total_tokens})`,
}

async function framesOf(deltas: AsyncIterable<Delta>, includeUsage: boolean, opening = 'O') {
  const seen: string[] = []
  const finishes: unknown[] = []
  const options = { includeUsage, onFinish: (one: unknown) => finishes.push(one) }
  for await (const frame of toFrames(deltas, { ...frames, opening }, options)) seen.push(frame)
  t.strictSame(finishes, [finish], 'the finish is reported once')
  return seen
}

t.test('one write a delta; the last one carries everything that ends', async (t) => {
  const deltas = () =>
    stream(
      { text: 'a', numTokens: 1 },
      { text: '', numTokens: 1 },
      { text: 'b', numTokens: 2, finish },
    )
  t.strictSame(await framesOf(deltas(), false), ['O', 'T(a)', 'T(b)F(stop)'])
  t.strictSame(await framesOf(deltas(), true), ['O', 'T(a)', 'T(b)F(stop)U(9)'])
  t.strictSame(await framesOf(stream({ text: '', numTokens: 1, finish }), false), ['O', 'F(stop)'])
  t.strictSame(await framesOf(deltas(), false, ''), ['T(a)', 'T(b)F(stop)'])
})

t.test('nothing is read past the finish', async (t) => {
  const deltas = stream({ text: 'a', numTokens: 1, finish }, { text: 'b', numTokens: 1 })
  t.strictSame(await collectAnswer(deltas), { text: 'a', finish })
})

t.test('a generation without a finish is a broken invariant', async (t) => {
  await t.rejects(collectAnswer(stream({ text: 'a', numTokens: 1 })), {
    message: /without a finish/,
  })
})

t.test('heads', async (t) => {
  const head = newAnswerHead('chatcmpl', model)
  t.match(head, {
    id: /^chatcmpl-[0-9a-f]{32}$/,
    model: 'tiny',
    system_fingerprint: /^fp_[0-9a-f]{10}$/,
  })
  t.ok(Math.abs(head.created - Date.now() / 1000) < 2)
  t.not(newAnswerHead('cmpl', model).id, newAnswerHead('cmpl', model).id)
})

t.test('the fingerprint changes with the model, and only with it', async (t) => {
  t.equal(systemFingerprint(model), systemFingerprint({ ...model }))
  for (const change of [{ id: 'x' }, { created: 2 }, { vocabSize: 1 }, { maxContextLen: 1 }]) {
    t.not(systemFingerprint(model), systemFingerprint({ ...model, ...change }))
  }
})

t.test('usage', async (t) => {
  t.strictSame(toUsageWire(usage), {
    prompt_tokens: 7,
    completion_tokens: 2,
    total_tokens: 9,
    prompt_tokens_details: { cached_tokens: 3 },
    completion_tokens_details: { reasoning_tokens: 0 },
  })
})

t.test('a template is split at its marker', async (t) => {
  t.strictSame(splitTemplate({ a: 1, b: templateMarker, c: 2 }), [
    'data: {"a":1,"b":',
    ',"c":2}\n\n',
  ])
  t.throws(() => splitTemplate({ a: 1 }), { message: /no marker/ })
})
