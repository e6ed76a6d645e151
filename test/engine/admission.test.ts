import t from 'tap'
import { Admission } from '../../engine/admission.js'

const limits = { maxQueuedRequests: 2, maxQueuedTokens: 100 }
const overloaded = { code: 'server_overloaded' }

t.test('requests are bounded, and each place can be used again', (t) => {
  const admission = makeAdmission()
  const tickets = [admission.enter(), admission.enter(), admission.enter()]
  t.throws(() => admission.enter(), { ...overloaded, message: /holds 2 of at most 2/ })
  admission.leave(tickets[0]!)
  admission.leave(tickets[0]!)
  t.equal(admission.numRequests, 2, 'leaving twice is leaving once')
  admission.enter()
  t.throws(() => admission.enter(), overloaded)
  t.end()
})

t.test('prompt tokens are bounded until their first answer token', (t) => {
  const admission = makeAdmission()
  const first = admission.enter()
  admission.queueTokens(first, 60)
  const second = admission.enter()
  t.throws(() => admission.queueTokens(second, 41), { ...overloaded, message: /60 tokens/ })
  admission.queueTokens(second, 40)
  t.throws(() => admission.enter(), overloaded, 'refused before it is tokenized')
  admission.unqueueTokens(first)
  admission.unqueueTokens(first)
  admission.queueTokens(admission.enter(), 60)
  t.end()
})

t.test('a prompt that is alone is never too long here, and leaving gives its tokens back', (t) => {
  const admission = makeAdmission()
  const ticket = admission.enter()
  admission.queueTokens(ticket, 1000)
  t.throws(() => admission.enter(), overloaded)
  admission.leave(ticket)
  admission.queueTokens(admission.enter(), 100)
  t.end()
})

t.test('a request takes a slot for each of its choices, and gives them back one by one', (t) => {
  const admission = makeAdmission()
  const ticket = admission.enter(2)
  const refused = { ...overloaded, message: /holds 1 of at most 2 answers, and .* 2 more/ }
  t.throws(() => admission.enter(2), refused)
  t.equal(admission.numRequests, 1)
  admission.releaseSlot(ticket)
  const second = admission.enter(2)
  admission.releaseSlot(ticket)
  admission.releaseSlot(ticket)
  admission.leave(ticket)
  t.equal(admission.numRequests, 1)
  admission.leave(second)
  admission.leave(admission.enter(50))
  t.equal(admission.numRequests, 0, 'a request alone is let in, whatever it asks for')
  admission.enter(3)
  t.throws(() => admission.enter(), overloaded, 'and all its slots came back')
  t.end()
})

t.test('waiting for the last one to leave has an end', async (t) => {
  const admission = makeAdmission()
  t.equal(await admission.waitUntilEmpty(0), true)
  const ticket = admission.enter()
  t.equal(await admission.waitUntilEmpty(5), false)
  const waits = [admission.waitUntilEmpty(5000), admission.waitUntilEmpty(5000)]
  admission.leave(ticket)
  t.same(await Promise.all(waits), [true, true])
})

/** One request can run at once. */
function makeAdmission(): Admission {
  const admission = new Admission(limits)
  admission.maxRunning = 1
  return admission
}
