import t from 'tap'
import { DeltaBuffer } from '../../engine/delta-buffer.js'
import type { Finish } from '../../engine/generate-request.js'

const usage = { numPromptTokens: 1, numCachedTokens: 0, numCompletionTokens: 3 }
const finish: Finish = { reason: 'stop' }

t.test('what waits is merged, and the last delta carries the finish', async (t) => {
  const buffer = new DeltaBuffer(() => {})
  buffer.push(delta('a'))
  buffer.push(delta(''))
  t.same(await buffer.next(), { done: false, value: { choice: 0, text: 'a', numTokens: 2 } })
  buffer.push(delta('b'))
  buffer.push({ ...delta('c'), finish }, usage)
  t.equal(buffer.pendingLen(0), 2)
  buffer.push(delta('ignored'))
  const last = { choice: 0, text: 'bc', numTokens: 2, finish, usage }
  t.same(await buffer.next(), { done: false, value: last })
  t.same(await buffer.next(), { done: true, value: undefined })
})

t.test('choices are merged apart; the one that has waited longest is read first', async (t) => {
  const buffer = new DeltaBuffer(() => {})
  buffer.push(delta('a', 0))
  buffer.push(delta('x', 1))
  buffer.push(delta('b', 0))
  t.equal(buffer.pendingLen(0), 2)
  t.equal(buffer.pendingLen(1), 1)
  t.match(await buffer.next(), { value: { choice: 0, text: 'ab' } })
  buffer.push(delta('c', 0))
  t.match(await buffer.next(), { value: { choice: 1, text: 'x' } })
  t.match(await buffer.next(), { value: { choice: 0, text: 'c' } })
  t.equal(buffer.pendingLen(0), 0)
})

t.test('the counts come with what is read last, whoever finished last', async (t) => {
  const buffer = new DeltaBuffer(() => {})
  buffer.push(delta('a', 0))
  buffer.push({ ...delta('x', 1), finish })
  buffer.push({ ...delta('b', 0), finish }, usage)
  t.same(await buffer.next(), {
    done: false,
    value: { choice: 0, text: 'ab', numTokens: 2, finish },
  })
  const last = { choice: 1, text: 'x', numTokens: 1, finish, usage }
  t.same(await buffer.next(), { done: false, value: last })
  t.same(await buffer.next(), { done: true, value: undefined })
})

t.test('a reader that waits is woken by text, by an error and by a cancel', async (t) => {
  const buffer = new DeltaBuffer(() => {})
  const first = buffer.next()
  buffer.push(delta('a'))
  t.match(await first, { value: { text: 'a' } })

  const second = buffer.next()
  buffer.fail(new Error('broken'))
  await t.rejects(second, /broken/)
  t.same(await buffer.next(), { done: true, value: undefined }, 'an error is told once')

  const cancelled = new DeltaBuffer(() => {})
  const third = cancelled.next()
  cancelled.cancel(new Error('left'))
  await t.rejects(third, /left/)
})

t.test('text before an error is delivered, text before a cancel is not', async (t) => {
  const failed = new DeltaBuffer(() => {})
  failed.push(delta('a', 0))
  failed.push(delta('b', 1))
  failed.fail(new Error('broken'))
  t.match(await failed.next(), { value: { text: 'a' } })
  t.match(await failed.next(), { value: { text: 'b' } })
  await t.rejects(failed.next(), /broken/)

  const cancelled = new DeltaBuffer(() => {})
  cancelled.push(delta('a'))
  cancelled.cancel(new Error('left'))
  await t.rejects(cancelled.next(), /left/)
})

t.test('an error after the finish changes nothing', async (t) => {
  const buffer = new DeltaBuffer(() => {})
  buffer.push({ ...delta('a'), finish }, usage)
  buffer.fail(new Error('too late'))
  t.match(await buffer.next(), { value: { text: 'a', finish, usage } })
  buffer.cancel(new Error('too late'))
  t.same(await buffer.next(), { done: true, value: undefined })
})

t.test('a reader that breaks off says so', async (t) => {
  let numReturns = 0
  const buffer = new DeltaBuffer(() => numReturns++)
  buffer.push(delta('a'))
  for await (const { text } of buffer) {
    t.equal(text, 'a')
    break
  }
  t.equal(numReturns, 1)
  buffer.push(delta('b'))
  t.same(await buffer.next(), { done: true, value: undefined })
})

function delta(text: string, choice = 0) {
  return { choice, text, numTokens: 1 }
}
