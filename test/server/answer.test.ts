import t from 'tap'
import type { Delta } from '../../engine/generate-request.js'
import {
  type ChunkFrames,
  collectAnswer,
  fillTemplate,
  newAnswerHead,
  splitTemplate,
  systemFingerprint,
  templateMarker,
  toFrames,
  toUsageWire,
} from '../../server/answer.js'
import { usage } from './engine-double.js'

const model = { id: 'tiny', created: 1, maxContextLen: 128, vocabSize: 512, maxSequences: 8 }
const finish = { reason: 'stop' } as const

async function* stream(...deltas: Delta[]): AsyncIterable<Delta> {
  yield* deltas
}

function delta(text: string, choice = 0): Delta {
  return { choice, text, numTokens: 1 }
}

const frames: ChunkFrames = {
  opening: 'O',
  text: (choice, text) => `T${choice}(${text})`,
  finish: (choice, { reason }) => `F${choice}(${reason})`,
  usage: ({ total_tokens }) => `U(${total_tokens})`,
}

async function framesOf(deltas: AsyncIterable<Delta>, includeUsage: boolean, opening = 'O') {
  const seen: string[] = []
  const usages: unknown[] = []
  const options = { includeUsage, onUsage: (one: unknown) => usages.push(one) }
  for await (const frame of toFrames(deltas, { ...frames, opening }, options)) seen.push(frame)
  t.strictSame(usages, [usage], 'the counts are reported once')
  return seen
}

t.test('one write a delta; the last one carries everything that ends', async (t) => {
  const deltas = () => stream(delta('a'), delta(''), { ...delta('b'), numTokens: 2, finish, usage })
  t.strictSame(await framesOf(deltas(), false), ['O', 'T0(a)', 'T0(b)F0(stop)'])
  t.strictSame(await framesOf(deltas(), true), ['O', 'T0(a)', 'T0(b)F0(stop)U(9)'])
  const empty = { ...delta(''), finish, usage }
  t.strictSame(await framesOf(stream(empty), false), ['O', 'F0(stop)'])
  t.strictSame(await framesOf(deltas(), false, ''), ['T0(a)', 'T0(b)F0(stop)'])
})

t.test('choices come as they are made, and the counts behind them all', async (t) => {
  const deltas = () =>
    stream(
      delta('a', 1),
      delta('b', 0),
      { ...delta('', 1), finish },
      { ...delta('c', 0), finish: { reason: 'length' }, usage },
    )
  const frames = ['O', 'T1(a)', 'T0(b)', 'F1(stop)', 'T0(c)F0(length)U(9)']
  t.strictSame(await framesOf(deltas(), true), frames)
  t.strictSame(await collectAnswer(deltas(), 2), {
    choices: [
      { text: 'bc', finish: { reason: 'length' } },
      { text: 'a', finish },
    ],
    usage,
  })
})

t.test('nothing is read past the end', async (t) => {
  const deltas = stream({ ...delta('a'), finish, usage }, delta('b'))
  t.strictSame(await collectAnswer(deltas, 1), { choices: [{ text: 'a', finish }], usage })
})

t.test('a generation without an end is a broken invariant', async (t) => {
  await t.rejects(collectAnswer(stream(delta('a')), 1), { message: /without a finish/ })
  const frames = framesOf(stream({ ...delta('a'), finish }), false)
  await t.rejects(frames, { message: /without a finish/ })
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
  t.equal(fillTemplate(['<', '>'], 'a"b'), '<"a\\"b">')
  t.throws(() => splitTemplate({ a: 1 }), { message: /no marker/ })
})
