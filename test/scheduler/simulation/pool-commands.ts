import fc from 'fast-check'
import { rootParent } from '../../../scheduler/block-hash.js'
import { BlockPool } from '../../../scheduler/block-pool.js'
import { fail } from './life.js'

const numBlocks = 6
const blockSize = 2

interface Table {
  readonly tenant: number
  readonly tokenIds: Int32Array
  readonly blockIds: number[]
  numPublished: number
}

/** The pool again, in lists and maps that are slow and plain. */
class PoolModel {
  readonly tables: Table[] = []
  /** Cached blocks in the order in which they will be evicted. */
  cached: number[] = []
  /** Published blocks by everything that their tokens follow: tenant and all tokens so far. */
  readonly published = new Map<string, number>()

  keyOf(table: Table, index: number): string {
    return `${table.tenant}:${table.tokenIds.subarray(0, (index + 1) * blockSize)},`
  }

  keyOfBlock(blockId: number): string | undefined {
    return [...this.published].find(([, id]) => id === blockId)?.[0]
  }

  numHolders(blockId: number): number {
    return this.tables.filter((table) => table.blockIds.includes(blockId)).length
  }

  isContinued(key: string): boolean {
    return [...this.published.keys()].some((other) => other !== key && other.startsWith(key))
  }
}

type PoolCommand = fc.Command<PoolModel, BlockPool>

function expectEqual(actual: unknown, expected: unknown, what: string): void {
  if (actual !== expected) fail(`${what} is ${actual}, not ${expected}`)
}

function compare(model: PoolModel, pool: BlockPool): void {
  const numHolders = Int32Array.from({ length: numBlocks }, (_, id) => model.numHolders(id))
  pool.checkIntegrity(numHolders)
  expectEqual(pool.numCachedBlocks, model.cached.length, 'numCachedBlocks')
  expectEqual(pool.numUsedBlocks, numHolders.filter((n) => n > 0).length, 'numUsedBlocks')
  for (let id = 0; id < numBlocks; id++) {
    expectEqual(pool.isCached(id), model.cached.includes(id), `isCached(${id})`)
    expectEqual(pool.isPublished(id), model.keyOfBlock(id) !== undefined, `isPublished(${id})`)
  }
}

/** A sequence comes: it shares what is found and takes blocks for the rest, while there are any. */
class Admit implements PoolCommand {
  readonly #tenant: number
  readonly #tokenIds: readonly number[]

  constructor(tenant: number, tokenIds: readonly number[]) {
    this.#tenant = tenant
    this.#tokenIds = tokenIds
  }

  check(): boolean {
    return true
  }

  run(model: PoolModel, pool: BlockPool): void {
    const tokenIds = Int32Array.from(this.#tokenIds)
    const table: Table = { tenant: this.#tenant, tokenIds, blockIds: [], numPublished: 0 }
    const numFull = Math.floor(tokenIds.length / blockSize)
    const found = new Int32Array(numFull)
    const numFound = pool.matchPrefix(table.tenant, tokenIds, numFull, found)
    for (let i = 0; i < numFull; i++) {
      const expected = model.published.get(model.keyOf(table, i))
      if (expected === undefined) {
        expectEqual(numFound, i, 'the number of blocks found')
        break
      }
      expectEqual(found[i], expected, 'a block found')
    }
    for (let i = 0; i < numFound; i++) {
      pool.share(found[i]!)
      table.blockIds.push(found[i]!)
      model.cached = model.cached.filter((id) => id !== found[i])
    }
    table.numPublished = numFound
    model.tables.push(table)
    while (table.blockIds.length < Math.ceil(tokenIds.length / blockSize)) {
      if (!this.#take(model, pool, table)) break
    }
    compare(model, pool)
  }

  #take(model: PoolModel, pool: BlockPool, table: Table): boolean {
    const hasFree = pool.numFreeBlocks > 0
    const blockId = pool.take()
    if (hasFree) {
      const isFree = model.numHolders(blockId) === 0 && !model.cached.includes(blockId)
      if (!isFree) fail(`block ${blockId} was handed out while others were free`)
    } else {
      expectEqual(blockId, model.cached.shift() ?? -1, 'the evicted block')
      const key = model.keyOfBlock(blockId)
      if (key !== undefined) model.published.delete(key)
    }
    if (blockId !== -1) table.blockIds.push(blockId)
    return blockId !== -1
  }

  toString(): string {
    return `admit(tenant ${this.#tenant}, [${this.#tokenIds}])`
  }
}

/** The next block of a table is computed. */
class Publish implements PoolCommand {
  readonly #pick: number

  constructor(pick: number) {
    this.#pick = pick
  }

  check(model: Readonly<PoolModel>): boolean {
    return model.tables.length > 0
  }

  run(model: PoolModel, pool: BlockPool): void {
    const table = model.tables[this.#pick % model.tables.length]!
    const i = table.numPublished
    if (i >= table.blockIds.length || (i + 1) * blockSize > table.tokenIds.length) return
    const parentId = i === 0 ? rootParent : table.blockIds[i - 1]!
    const { tenant, tokenIds } = table
    const own = table.blockIds[i]!
    const expected = model.published.get(model.keyOf(table, i)) ?? own
    const blockId = pool.publish(own, parentId, tenant, tokenIds, i * blockSize)
    expectEqual(blockId, expected, 'the published block')
    if (blockId !== own) pool.release(own)
    model.published.set(model.keyOf(table, i), blockId)
    model.cached = model.cached.filter((id) => id !== blockId)
    table.blockIds[i] = blockId
    table.numPublished++
    compare(model, pool)
  }

  toString(): string {
    return `publish(${this.#pick})`
  }
}

/** A sequence goes, well or ill. */
class Release implements PoolCommand {
  readonly #pick: number
  readonly #isSuspect: boolean

  constructor(pick: number, isSuspect: boolean) {
    this.#pick = pick
    this.#isSuspect = isSuspect
  }

  check(model: Readonly<PoolModel>): boolean {
    return model.tables.length > 0
  }

  run(model: PoolModel, pool: BlockPool): void {
    const table = model.tables[this.#pick % model.tables.length]!
    if (this.#isSuspect) this.#withdraw(model, pool, table)
    while (table.blockIds.length > 0) {
      const blockId = table.blockIds.pop()!
      pool.release(blockId)
      const isKept = model.numHolders(blockId) === 0 && model.keyOfBlock(blockId) !== undefined
      if (isKept) model.cached.push(blockId)
    }
    model.tables.splice(model.tables.indexOf(table), 1)
    compare(model, pool)
  }

  #withdraw(model: PoolModel, pool: BlockPool, table: Table): void {
    for (let i = table.numPublished - 1; i >= 0; i--) {
      const blockId = table.blockIds[i]!
      const key = model.keyOf(table, i)
      const isOwn = model.numHolders(blockId) === 1 && !model.isContinued(key)
      expectEqual(pool.withdraw(blockId), isOwn, 'whether a block was withdrawn')
      if (!isOwn) return
      model.published.delete(key)
    }
  }

  toString(): string {
    return `${this.#isSuspect ? 'withdraw and release' : 'release'}(${this.#pick})`
  }
}

/** Few tokens and tenants, so that prefixes are often shared. */
export const poolCommands: fc.Arbitrary<PoolCommand>[] = [
  fc
    .tuple(fc.nat(1), fc.array(fc.nat(1), { minLength: 1, maxLength: 7 }))
    .map(([tenant, tokenIds]) => new Admit(tenant, tokenIds)),
  fc.nat(9).map((pick) => new Publish(pick)),
  fc.nat(9).map((pick) => new Publish(pick)),
  fc.tuple(fc.nat(9), fc.boolean()).map(([pick, isSuspect]) => new Release(pick, isSuspect)),
]

export function startPool(): { model: PoolModel; real: BlockPool } {
  return { model: new PoolModel(), real: new BlockPool(numBlocks, blockSize, 11) }
}
