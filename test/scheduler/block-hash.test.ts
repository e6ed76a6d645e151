import t from 'tap'
import { BlockHash, rootParent } from '../../scheduler/block-hash.js'
import { Random } from './simulation/random.js'

const tokens = Int32Array.of(1, 2, 3, 4, 5, 6, 7, 8)

t.test('a block is found under its own key alone', async (t) => {
  const index = new BlockHash(8, 4, 99)
  index.insert(3, rootParent, 7, tokens, 0)
  index.insert(5, 3, 7, tokens, 4)
  t.equal(index.find(rootParent, 7, tokens, 0), 3)
  t.equal(index.find(3, 7, tokens, 4), 5)
  t.equal(index.find(rootParent, 8, tokens, 0), -1, 'another tenant')
  t.equal(index.find(rootParent, 7 + 2 ** 40, tokens, 0), -1, 'a tenant with the same low bits')
  t.equal(index.find(5, 7, tokens, 4), -1, 'another parent')
  t.equal(index.find(rootParent, 7, tokens, 4), -1, 'other tokens')
  t.equal(index.find(rootParent, 7, Int32Array.of(1, 2, 3, 5), 0), -1, 'another last token')
  t.ok(index.matches(5, 3, 7, tokens, 4))
  t.equal(index.parentOf(5), 3)
  t.equal(index.numChildren(3), 1)
  t.equal(index.rootOf(5), rootParent)
  t.equal(index.tenantOf(5), 7)
  t.equal(index.numPublished, 2)
  t.ok(index.has(3) && !index.has(0))
})

t.test('a block that was published again is told from one that stayed published', async (t) => {
  const index = new BlockHash(8, 4, 99)
  t.equal(index.publicationOf(0), 0)
  index.insert(0, rootParent, 0, tokens, 0)
  index.insert(1, rootParent, 1, tokens, 0)
  const first = index.publicationOf(0)
  t.ok(first > 0)
  t.not(index.publicationOf(1), first)
  t.equal(index.publicationOf(0), first)
  index.remove(0)
  t.equal(index.publicationOf(0), 0)
  index.insert(0, rootParent, 0, tokens, 0)
  t.not(index.publicationOf(0), first)
})

t.test('chains under different roots have nothing in common', async (t) => {
  const index = new BlockHash(8, 4, 99)
  index.insert(0, rootParent, 0, tokens, 0)
  index.insert(1, rootParent - 1, 0, tokens, 0)
  index.insert(2, 1, 0, tokens, 4)
  t.equal(index.find(rootParent, 0, tokens, 0), 0)
  t.equal(index.find(rootParent - 1, 0, tokens, 0), 1)
  t.equal(index.rootOf(2), rootParent - 1)
  index.checkIntegrity()
})

t.test('a removed block is not found, its neighbours in the bucket are', async (t) => {
  /** Every key in one bucket, with one hash. */
  class OneBucket extends BlockHash {
    override hash(): number {
      return 0
    }
  }
  const index = new OneBucket(8, 4, 99)
  for (let i = 0; i < 5; i++) index.insert(i, rootParent, i, tokens, 0)
  for (const blockId of [2, 4, 0]) {
    index.remove(blockId)
    t.equal(index.find(rootParent, blockId, tokens, 0), -1)
    index.checkIntegrity()
  }
  t.equal(index.find(rootParent, 1, tokens, 0), 1)
  t.equal(index.find(rootParent, 3, tokens, 0), 3)
  t.equal(index.find(rootParent, 7, tokens, 0), -1, 'equal hash, no such key')
  for (const blockId of [2, 0, 4]) index.insert(blockId, rootParent, blockId, tokens, 0)
  for (let i = 0; i < 5; i++) t.equal(index.find(rootParent, i, tokens, 0), i)
  index.checkIntegrity()
})

t.test('what must not happen throws', async (t) => {
  const index = new BlockHash(4, 4, 99)
  index.insert(0, rootParent, 0, tokens, 0)
  index.insert(1, 0, 0, tokens, 4)
  t.throws(() => index.insert(1, 0, 0, tokens, 0), /published twice: 1/)
  t.throws(() => index.insert(2, 3, 0, tokens, 0), /behind a parent that is not: 3/)
  t.throws(() => index.remove(0), /before the blocks that continue it: 0/)
  t.throws(() => index.remove(2), /that is not published: 2/)
  t.throws(() => index.parentOf(2), /that is not published: 2/)
  t.throws(() => index.rootOf(2), /that is not published: 2/)
  t.throws(() => index.tenantOf(2), /that is not published: 2/)
  index.remove(1)
  index.remove(0)
  t.equal(index.numPublished, 0)
})

t.test('checkIntegrity sees two blocks under one key', async (t) => {
  const index = new BlockHash(4, 4, 99)
  index.insert(0, rootParent, 0, tokens, 0)
  index.insert(1, rootParent, 0, tokens, 0)
  t.throws(() => index.checkIntegrity(), /not found under its key; block: 0/)
})

t.test('the seed changes where keys go, and the mix spreads', async (t) => {
  const one = new BlockHash(1024, 4, 1)
  const other = new BlockHash(1024, 4, 1 + 2 ** 40)
  t.not(one.hash(rootParent, 0, tokens, 0), other.hash(rootParent, 0, tokens, 0))

  const random = new Random(5)
  const loads = new Int32Array(1024)
  for (let i = 0; i < 16_384; i++) {
    const block = Int32Array.from({ length: 4 }, () => random.integer(0, 3))
    loads[one.hash(random.integer(-1, 1000), random.integer(0, 3), block, 0) & 1023]!++
  }
  // 16 keys a bucket in the mean, standard deviation 4.
  t.ok(Math.max(...loads) < 45, `fullest bucket ${Math.max(...loads)}`)
})

t.test('checkIntegrity sees what was counted twice', async (t) => {
  /** Can be made to believe that a block is not published. */
  class Blind extends BlockHash {
    hidden = -1
    override has(blockId: number): boolean {
      return blockId !== this.hidden && super.has(blockId)
    }
  }
  const createTwice = (twice: (index: Blind) => void) => {
    const index = new Blind(4, 4, 99)
    index.insert(0, rootParent, 0, tokens, 0)
    index.insert(1, 0, 0, tokens, 4)
    index.checkIntegrity()
    twice(index)
    index.hidden = -1
    return index
  }
  const child = createTwice((index) => {
    index.hidden = 1
    index.insert(1, 0, 0, tokens, 4)
  })
  t.throws(() => child.checkIntegrity(), /children of a block are miscounted; block: 0/)
  const first = createTwice((index) => {
    index.hidden = 0
    index.insert(0, rootParent, 0, tokens, 0)
  })
  t.throws(() => first.checkIntegrity(), /published blocks are miscounted: 2/)
})

t.test('every negative 32-bit integer but the least is a root', async (t) => {
  const index = new BlockHash(4, 4, 99)
  const roots = [...Array.from({ length: 200 }, (_, i) => -1 - i), -(2 ** 30), -(2 ** 31) + 1]
  for (const root of roots) {
    index.insert(2, root, 0, tokens, 0)
    if (index.find(root, 0, tokens, 0) !== 2 || index.rootOf(2) !== root) t.fail(`root ${root}`)
    index.remove(2)
  }
  t.equal(index.numPublished, 0)
})
