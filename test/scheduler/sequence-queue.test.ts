import t from 'tap'
import { SequenceQueue } from '../../scheduler/sequence-queue.js'
import { makeSequence as create } from './simulation/make-sequence.js'

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
