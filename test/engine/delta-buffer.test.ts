import t from 'tap'
import { DeltaBuffer } from '../../engine/delta-buffer.js'
import type { Finish } from '../../engine/generate-request.js'

const finish: Finish = {
  reason: 'stop',
  usage: { numPromptTokens: 1, numCachedTokens: 0, numCompletionTokens: 3 },
}

t.test('what waits is merged, and the last delta carries the finish', async (t) => {
  const buffer = new DeltaBuffer(() => {})
  buffer.push('a', 1)
  buffer.push('', 1)
  t.same(await buffer.next(), { done: false, value: { text: 'a', numTokens: 2 } })
  buffer.push('b', 1)
  buffer.push('c', 1, finish)
  t.equal(buffer.pendingLen, 2)
  buffer.push('ignored', 1)
  t.same(await buffer.next(), { done: false, value: { text: 'bc', numTokens: 2, finish } })
  t.same(await buffer.next(), { done: true, value: undefined })
})

t.test('a reader that waits is woken by text, by an error and by a cancel', async (t) => {
  const buffer = new DeltaBuffer(() => {})
  const first = buffer.next()
  buffer.push('a', 1)
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
  failed.push('a', 1)
  failed.fail(new Error('broken'))
  t.match(await failed.next(), { value: { text: 'a' } })
  await t.rejects(failed.next(), /broken/)

  const cancelled = new DeltaBuffer(() => {})
  cancelled.push('a', 1)
  cancelled.cancel(new Error('left'))
  await t.rejects(cancelled.next(), /left/)
})

t.test('an error after the finish changes nothing', async (t) => {
  const buffer = new DeltaBuffer(() => {})
  buffer.push('a', 1, finish)
  buffer.fail(new Error('too late'))
  t.match(await buffer.next(), { value: { text: 'a', finish } })
  buffer.cancel(new Error('too late'))
  t.same(await buffer.next(), { done: true, value: undefined })
})

t.test('a reader that breaks off says so', async (t) => {
  let numReturns = 0
  const buffer = new DeltaBuffer(() => numReturns++)
  buffer.push('a', 1)
  for await (const delta of buffer) {
    t.equal(delta.text, 'a')
    break
  }
  t.equal(numReturns, 1)
  buffer.push('b', 1)
  t.same(await buffer.next(), { done: true, value: undefined })
})
