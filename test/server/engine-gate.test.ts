import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import t from 'tap'
import type { EngineState } from '../../engine/generate-request.js'
import { EngineGate } from '../../server/engine-gate.js'
import { EngineDouble } from './engine-double.js'

t.test('before the model is loaded', async (t) => {
  const gate = new EngineGate()
  t.equal(gate.state, 'loading')
  t.throws(() => gate.admit(), { code: 'model_loading' })
  t.throws(() => gate.requireReady(), { code: 'model_loading' })
  gate.requireAlive()
  const engine = new EngineDouble()
  gate.attach(engine)
  t.equal(gate.admit(), engine)
  t.equal(gate.loaded, engine)
  gate.requireReady()
})

t.test('every state of the engine', async (t) => {
  const engine = new EngineDouble()
  const gate = new EngineGate(engine)
  const expected: Record<EngineState, string | undefined> = {
    ready: undefined,
    loading: 'model_loading',
    restarting: 'model_loading',
    draining: 'shutting_down',
    failed: 'engine_failed',
  }
  for (const [state, code] of Object.entries(expected)) {
    engine.state = state as EngineState
    if (code === undefined) gate.requireReady()
    else t.throws(() => gate.requireReady(), { code }, state)
    if (state === 'failed') t.throws(() => gate.requireAlive(), { code: 'engine_failed' })
    else gate.requireAlive()
  }
})

t.test('draining refuses new work whatever the engine says', async (t) => {
  const gate = new EngineGate(new EngineDouble())
  gate.beginDrain()
  t.equal(gate.state, 'draining')
  t.throws(() => gate.admit(), { code: 'shutting_down' })
  t.throws(() => gate.requireReady(), { code: 'shutting_down' })
})

t.test('requests are counted until their answers are out', async (t) => {
  const gate = new EngineGate(new EngineDouble())
  await gate.whenIdle()
  const response = () =>
    Object.assign(new EventEmitter(), { destroyed: false }) as unknown as ServerResponse
  const [first, second] = [response(), response()]
  gate.track(first)
  gate.track(second)
  gate.track(Object.assign(response(), { destroyed: true }))
  t.equal(gate.numInFlight, 2, 'who has left is not waited for')
  first.emit('close')
  t.equal(gate.numInFlight, 1)
  let isIdle = false
  const idle = gate.whenIdle().then(() => {
    isIdle = true
  })
  await Promise.resolve()
  t.notOk(isIdle)
  second.emit('close')
  await idle
  t.equal(gate.numInFlight, 0)
})
