import fc from 'fast-check'
import t from 'tap'
import { FreeList } from '../../scheduler/free-list.js'

function toArray(list: FreeList): number[] {
  const ids = []
  for (let id = list.first; id !== -1; id = list.next(id)) ids.push(id)
  return ids
}

t.test('an empty list has no first id', async (t) => {
  const list = new FreeList(3)
  t.equal(list.length, 0)
  t.equal(list.first, -1)
  t.equal(list.takeFront(), -1)
})

t.test('ids come out at the front in the order of the list', async (t) => {
  const list = new FreeList(4)
  list.pushBack(2)
  list.pushBack(0)
  list.pushFront(3)
  t.same(toArray(list), [3, 2, 0])
  list.remove(2)
  t.same(toArray(list), [3, 0])
  t.equal(list.takeFront(), 3)
  t.equal(list.takeFront(), 0)
  t.equal(list.length, 0)
})

t.test('what must not happen throws', async (t) => {
  const list = new FreeList(2)
  list.pushBack(1)
  t.throws(() => list.pushBack(1), /in the list already: 1/)
  t.throws(() => list.pushFront(1), /in the list already: 1/)
  t.throws(() => list.pushBack(2), /no room for: 2/)
  t.throws(() => list.pushBack(-1), /no room for: -1/)
  t.throws(() => list.remove(0), /not in the list: 0/)
  t.throws(() => list.remove(2), /not in the list: 2/)
  t.throws(() => list.next(0), /not in the list: 0/)
  t.notOk(list.has(-1))
  t.notOk(list.has(2), 'the own entry of the list is not an id')
})

t.test('behaves like an array, whatever is done to it', async (t) => {
  const step = fc.tuple(fc.constantFrom('front', 'back', 'remove', 'take'), fc.nat(7))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const list = new FreeList(8)
      let model: number[] = []
      for (const [what, id] of steps) {
        if (what === 'take') {
          if (list.takeFront() !== (model.shift() ?? -1)) return false
        } else if (what === 'remove') {
          if (model.includes(id)) list.remove(id)
          model = model.filter((other) => other !== id)
        } else if (!model.includes(id)) {
          if (what === 'front') list.pushFront(id)
          else list.pushBack(id)
          model = what === 'front' ? [id, ...model] : [...model, id]
        }
        if (list.length !== model.length || toArray(list).join() !== model.join()) return false
      }
      return true
    }),
    { seed: 1, numRuns: 300 },
  )
  t.pass('300 random histories')
})
