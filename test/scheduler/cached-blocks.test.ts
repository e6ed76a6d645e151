import fc from 'fast-check'
import t from 'tap'
import { CachedBlocks } from '../../scheduler/cached-blocks.js'

t.test('the oldest goes first while everybody keeps to the share', async (t) => {
  const cached = new CachedBlocks(8, 2)
  t.equal(cached.firstToEvict, -1)
  for (const [blockId, tenant] of [
    [3, 7],
    [1, 8],
    [5, 7],
  ] as const) {
    cached.push(blockId, tenant)
  }
  t.equal(cached.firstToEvict, 3)
  t.equal(cached.countOf(7), 2)
  t.equal(cached.countOf(9), 0)
  cached.remove(3)
  t.equal(cached.firstToEvict, 1)
  t.equal(cached.length, 2)
  t.notOk(cached.has(3))
  t.equal(cached.first, 1)
  t.equal(cached.next(1), 5)
})

t.test('a tenant above its share goes before all others', async (t) => {
  const cached = new CachedBlocks(8, 2)
  cached.push(0, 1)
  for (const blockId of [1, 2, 3, 4]) cached.push(blockId, 2)
  const evicted = []
  for (let id = cached.firstToEvict; id !== -1; id = cached.firstToEvict) {
    evicted.push(id)
    cached.remove(id)
  }
  t.same(evicted, [1, 2, 0, 3, 4], 'two of the flood, then by age')
})

t.test('who came above the share first goes first', async (t) => {
  const cached = new CachedBlocks(8, 1)
  cached.push(0, 1)
  cached.push(1, 2)
  cached.push(2, 2)
  cached.push(3, 1)
  t.equal(cached.firstToEvict, 1)
  cached.remove(1)
  t.equal(cached.firstToEvict, 0)
})

t.test('there may be as many tenants as blocks, again and again', async (t) => {
  const cached = new CachedBlocks(3, 1)
  for (const round of [10, 20, 30]) {
    for (const id of [0, 1, 2]) cached.push(id, round + id)
    cached.checkIntegrity()
    t.same(
      [0, 1, 2].map((id) => cached.countOf(round + id)),
      [1, 1, 1],
    )
    for (const id of [0, 1, 2]) cached.remove(id)
    t.equal(cached.countOf(round), 0)
  }
})

t.test('checkIntegrity sees what one order has and the other has not', async (t) => {
  class Forgetful extends CachedBlocks {
    override get length(): number {
      return super.length + 1
    }
  }
  const cached = new Forgetful(4, 4)
  cached.push(0, 1)
  t.throws(() => cached.checkIntegrity(), /the cached blocks are miscounted: 1/)
})

t.test('checkIntegrity sees a tenant that is above its share unnoticed', async (t) => {
  const cached = new CachedBlocks(4, 2)
  for (const blockId of [0, 1]) cached.push(blockId, 7)
  cached.checkIntegrity()
  Object.assign(cached, { share: 1 })
  t.throws(() => cached.checkIntegrity(), /a share of the cache is miscounted: 7/)
})

t.test('behaves like a slow model under any commands', async (t) => {
  const share = 3
  const step = fc.tuple(fc.constantFrom('push', 'push', 'remove', 'evict'), fc.nat(11), fc.nat(3))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const cached = new CachedBlocks(12, share)
      let model: { id: number; tenant: number }[] = []
      const countOf = (tenant: number) => model.filter((b) => b.tenant === tenant).length
      for (const [what, id, tenant] of steps) {
        const isIn = model.some((b) => b.id === id)
        if (what === 'push' && !isIn) {
          cached.push(id, tenant)
          model.push({ id, tenant })
        } else if (what === 'remove' && isIn) {
          cached.remove(id)
          model = model.filter((b) => b.id !== id)
        } else if (what === 'evict' && model.length > 0) {
          const evicted = cached.firstToEvict
          const block = model.find((b) => b.id === evicted)!
          // The oldest of its tenant, which is above its share if anybody is.
          if (model.find((b) => b.tenant === block.tenant) !== block) return false
          const isAnyAbove = model.some((b) => countOf(b.tenant) > share)
          if (isAnyAbove !== countOf(block.tenant) > share) return false
          if (!isAnyAbove && model[0] !== block) return false
          cached.remove(evicted)
          model = model.filter((b) => b !== block)
        }
        cached.checkIntegrity()
        if (cached.length !== model.length || cached.countOf(tenant) !== countOf(tenant)) {
          return false
        }
      }
      return true
    }),
    { seed: 1, numRuns: 300 },
  )
  t.pass('300 random histories')
})
