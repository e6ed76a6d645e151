import t from 'tap'
import { Tenants } from '../../scheduler/tenants.js'

t.test('an account lives as long as its sequences', async (t) => {
  const tenants = new Tenants(50)
  const account = tenants.open(7)
  t.equal(tenants.open(7), account)
  t.equal(tenants.find(8), undefined)
  tenants.countWaiting(account, 1)
  tenants.closeIfIdle(account)
  t.equal(tenants.find(7), account)
  tenants.countWaiting(account, -1)
  account.numRunning = 1
  tenants.closeIfIdle(account)
  t.same([...tenants.values()], [account])
  account.numRunning = 0
  tenants.closeIfIdle(account)
  t.equal(tenants.find(7), undefined)
})

t.test('tokens are charged while somebody else is here, and debts are bounded', async (t) => {
  const tenants = new Tenants(50)
  const a = tenants.open(1)
  a.numRunning = 1
  tenants.charge(a, 10)
  t.equal(a.deficit, 0, 'nobody else is here')
  const b = tenants.open(2)
  b.numRunning = 1
  tenants.charge(a, 10)
  t.equal(a.deficit, -10)
  tenants.charge(a, 1000)
  t.equal(a.deficit, -50)
  t.equal(b.deficit, 0)
  tenants.checkIntegrity(8)
})

t.test('the greediest has more than its share, and most', async (t) => {
  const tenants = new Tenants(50)
  const run = (tenant: number, numRunning: number) => {
    tenants.open(tenant).numRunning = numRunning
  }
  run(1, 8)
  t.equal(tenants.findGreediest(8), undefined, 'alone it may have everything')
  run(2, 0)
  t.equal(tenants.findGreediest(8)?.tenant, 1)
  run(2, 4)
  run(1, 4)
  t.equal(tenants.findGreediest(8), undefined, 'half each')
  run(3, 5)
  t.equal(tenants.findGreediest(8)?.tenant, 3)
  run(2, 6)
  t.equal(tenants.findGreediest(8)?.tenant, 2, 'though the last one has too many as well')
  for (const tenant of [1, 2, 3, 4]) run(tenant, 1)
  t.equal(tenants.findGreediest(2), undefined, 'one is never too many')
})

t.test('a turn is not saved up by a tenant that has nobody in line', async (t) => {
  const tenants = new Tenants(50)
  const account = tenants.open(1)
  account.numRunning = 1
  tenants.countWaiting(account, 1)
  tenants.countWaiting(account, 1)
  account.deficit = 8
  tenants.countWaiting(account, -1)
  t.equal(account.deficit, 8)
  tenants.countWaiting(account, -1)
  t.equal(account.deficit, 0)
  account.deficit = -3
  tenants.countWaiting(account, 1)
  tenants.countWaiting(account, -1)
  t.equal(account.deficit, -3, 'a debt stays')
})

t.test('checkIntegrity sees what is wrong', async (t) => {
  const create = () => {
    const tenants = new Tenants(50)
    const account = tenants.open(1)
    tenants.countWaiting(account, 1)
    tenants.checkIntegrity(8)
    return { tenants, account }
  }
  const idle = create()
  idle.account.numWaiting = 0
  t.throws(() => idle.tenants.checkIntegrity(8), /open for a tenant without sequences: 1/)
  for (const deficit of [-51, 9]) {
    const unbounded = create()
    unbounded.account.deficit = deficit
    t.throws(() => unbounded.tenants.checkIntegrity(8), /out of its bounds; tenant: 1/)
  }
  const saving = create()
  Object.assign(saving.account, { numWaiting: 0, numRunning: 1, deficit: 1 })
  t.throws(() => saving.tenants.checkIntegrity(8), /out of its bounds; tenant: 1/)
})
