import t from 'tap'
import { Sequence, SequenceQueue, type SequenceSpec } from '../../scheduler/sequence.js'

function create(id: number, fields: Partial<SequenceSpec> = {}): Sequence {
  const spec = {
    id,
    tenant: 0,
    promptTokenIds: Int32Array.of(5, 6, 7),
    maxTokens: 3,
    minTokens: 0,
    stopTokenIds: Int32Array.of(2, 3),
    ignoreStopTokens: false,
    ...fields,
  }
  return new Sequence(spec, 2)
}

t.test('a new sequence knows its prompt and has room for its answer', async (t) => {
  const promptTokenIds = Int32Array.of(5, 6, 7)
  const sequence = create(1, { promptTokenIds })
  promptTokenIds[0] = 99
  t.same([...sequence.tokenIds], [5, 6, 7, 0, 0, 0], 'the prompt is copied')
  t.equal(sequence.numTokens, 3)
  t.equal(sequence.blockTable.length, 3, 'five tokens go through the model, the sixth does not')
  t.equal(sequence.status, 'waiting')
  t.equal(sequence.samplerSlot, -1)
})

t.test('tokens are appended up to the last one', async (t) => {
  const sequence = create(1)
  for (const token of [9, 8, 7]) sequence.appendToken(token)
  t.same([...sequence.tokenIds], [5, 6, 7, 9, 8, 7])
  t.equal(sequence.numOutputTokens, 3)
  t.equal(sequence.numUncomputedTokens, 6)
  t.throws(() => sequence.appendToken(1), /after the last one; sequence: 1/)
})

t.test('it samples when the last known token is computed', async (t) => {
  const sequence = create(1)
  sequence.numScheduledTokens = 2
  t.notOk(sequence.samples)
  sequence.numScheduledTokens = 3
  t.ok(sequence.samples)
})

t.test('stop tokens end it, not before minTokens and not if they are to be ignored', async (t) => {
  t.ok(create(1).isStop(3))
  t.notOk(create(1).isStop(4))
  t.notOk(create(1, { ignoreStopTokens: true }).isStop(3))
  const patient = create(1, { minTokens: 1 })
  t.notOk(patient.isStop(3))
  patient.appendToken(3)
  t.ok(patient.isStop(3))
})

t.test('it is protected after its second preemption', async (t) => {
  const sequence = create(1)
  sequence.numPreemptions = 1
  t.notOk(sequence.isProtected)
  sequence.numPreemptions = 2
  t.ok(sequence.isProtected)
})

function ids(queue: SequenceQueue): number[] {
  const found = []
  for (let s = queue.first; s !== undefined; s = s.next) found.push(s.id)
  const reversed = []
  for (let s = queue.last; s !== undefined; s = s.previous) reversed.push(s.id)
  if (reversed.reverse().join() !== found.join() || found.length !== queue.length) {
    throw new Error(`the links disagree: ${found} and ${reversed}, length ${queue.length}`)
  }
  return found
}

t.test('a queue takes at both ends and gives from anywhere', async (t) => {
  const queue = new SequenceQueue()
  const [a, b, c, d] = [create(1), create(2), create(3), create(4)]
  queue.pushFront(b)
  queue.pushBack(c)
  queue.pushFront(a)
  queue.pushBack(d)
  t.same(ids(queue), [1, 2, 3, 4])
  queue.remove(b)
  t.same(ids(queue), [1, 3, 4])
  queue.remove(a)
  queue.remove(d)
  t.same(ids(queue), [3])
  queue.remove(c)
  t.same(ids(queue), [])
  queue.pushBack(b)
  t.same(ids(queue), [2])
})

t.test('a sequence is not removed from a queue it is not in', async (t) => {
  const queue = new SequenceQueue()
  queue.pushBack(create(1))
  t.throws(() => queue.remove(create(2)), /a queue it is not in; sequence: 2/)
})
