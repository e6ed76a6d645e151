import fc from 'fast-check'
import t from 'tap'
import { IdLists } from '../../scheduler/id-lists.js'

function toArray(lists: IdLists, list: number): number[] {
  const ids = []
  for (let id = lists.first(list); id !== -1; id = lists.next(id)) ids.push(id)
  return ids
}

t.test('lists share their ids, and an id is in one of them', async (t) => {
  const lists = new IdLists(4, 2)
  t.equal(lists.first(0), -1)
  lists.pushBack(0, 3)
  lists.pushFront(0, 1)
  lists.pushBack(1, 2)
  t.same(toArray(lists, 0), [1, 3])
  t.same(toArray(lists, 1), [2])
  t.throws(() => lists.pushBack(1, 3), /in the list already: 3/)
  t.throws(() => lists.pushFront(1, 4), /no room for: 4/)
  t.throws(() => lists.pushFront(1, -1), /no room for: -1/)
  t.throws(() => lists.remove(0), /not in the list: 0/)
  t.throws(() => lists.next(0), /not in the list: 0/)
  t.notOk(lists.has(-1))
  t.notOk(lists.has(5), 'the own entries are no ids')
  lists.remove(3)
  lists.pushBack(1, 3)
  t.same(toArray(lists, 0), [1])
  t.same(toArray(lists, 1), [2, 3])
  t.equal(lists.length(1), 2)
})

t.test('behave like arrays, whatever is done to them', async (t) => {
  const step = fc.tuple(fc.constantFrom('front', 'back', 'remove'), fc.nat(2), fc.nat(7))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const lists = new IdLists(8, 3)
      let model: number[][] = [[], [], []]
      for (const [what, list, id] of steps) {
        const isIn = model.some((ids) => ids.includes(id))
        if (lists.has(id) !== isIn) return false
        if (what === 'remove' && isIn) {
          lists.remove(id)
          model = model.map((ids) => ids.filter((other) => other !== id))
        } else if (what === 'front' && !isIn) {
          lists.pushFront(list, id)
          model[list]!.unshift(id)
        } else if (what === 'back' && !isIn) {
          lists.pushBack(list, id)
          model[list]!.push(id)
        }
        const isSame = model.every((ids, i) => {
          return lists.length(i) === ids.length && toArray(lists, i).join() === ids.join()
        })
        if (!isSame) return false
      }
      return true
    }),
    { seed: 1, numRuns: 300 },
  )
  t.pass('300 random histories')
})
