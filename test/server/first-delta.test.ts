import t from 'tap'
import { withFirst } from '../../server/first-delta.js'

const soon = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

t.test('nothing is lost, whether the first item is early or late', async (t) => {
  for (const [delayMs, maxMs] of [
    [0, 1000],
    [30, 1],
  ] as const) {
    async function* items() {
      await soon(delayMs)
      yield 1
      yield 2
    }
    t.strictSame(await collect(await withFirst(items(), maxMs)), [1, 2])
  }
  t.strictSame(await collect(await withFirst(fail(0), 1000).catch(() => nothing())), [])
})

t.test('an error that comes first rejects at once; a late one is read', async (t) => {
  await t.rejects(withFirst(fail(0), 1000), /too late/)
  const items = await withFirst(fail(20), 1)
  await t.rejects(collect(items), /too late/)
})

t.test('a reader that leaves ends the items, also between the wait and the reading', async (t) => {
  let numReturns = 0
  async function* items() {
    try {
      yield 1
      yield 2
    } finally {
      numReturns++
    }
  }
  for await (const item of await withFirst(items(), 1000)) {
    t.equal(item, 1)
    break
  }
  t.equal(numReturns, 1)
  await withFirst(fail(5), 1)
  await soon(20)
  t.pass('an error that nobody reads is nobody’s problem')
})

// biome-ignore lint/correctness/useYield: an item never comes.
async function* fail(delayMs: number): AsyncGenerator<number> {
  await soon(delayMs)
  throw new Error('too late')
}

async function* nothing(): AsyncGenerator<number> {}
