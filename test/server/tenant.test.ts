import t from 'tap'
import { tenantOf } from '../../server/tenant.js'

t.test('the same salt is the same tenant, and nobody is the one without a salt', async (t) => {
  const tenants = new Set<number>()
  for (let i = 0; i < 1000; i++) {
    const tenant = tenantOf(`salt ${i}`)
    t.equal(tenantOf(`salt ${i}`), tenant)
    t.ok(Number.isSafeInteger(tenant) && tenant >= 1 && tenant <= 2 ** 52, `${tenant}`)
    tenants.add(tenant)
  }
  t.equal(tenants.size, 1000)
  t.ok(Math.max(...tenants) > 2 ** 50, 'the whole range is used')
})
