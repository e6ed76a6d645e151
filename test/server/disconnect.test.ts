import { EventEmitter } from 'node:events'
import type { FastifyReply } from 'fastify'
import t from 'tap'
import { disconnectSignal } from '../../server/disconnect.js'

function fakeReply(state: { destroyed: boolean; writableFinished: boolean }) {
  const raw = Object.assign(new EventEmitter(), state)
  return { raw, reply: { raw } as unknown as FastifyReply }
}

t.test('aborts when the reply closes before it is complete', async (t) => {
  const { raw, reply } = fakeReply({ destroyed: false, writableFinished: false })
  const signal = disconnectSignal(reply)
  t.notOk(signal.aborted)
  raw.emit('close')
  t.ok(signal.aborted)
})

t.test('a reply that closes complete aborts nothing', async (t) => {
  const { raw, reply } = fakeReply({ destroyed: false, writableFinished: true })
  const signal = disconnectSignal(reply)
  raw.emit('close')
  t.notOk(signal.aborted)
})

t.test('a client that left before is noticed', async (t) => {
  const { reply } = fakeReply({ destroyed: true, writableFinished: false })
  t.ok(disconnectSignal(reply).aborted)
})
