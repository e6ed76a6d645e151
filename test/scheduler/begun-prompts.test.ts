import t from 'tap'
import { BegunPrompts } from '../../scheduler/begun-prompts.js'
import { TenantAccount } from '../../scheduler/tenants.js'
import { makeSequence } from './simulation/make-sequence.js'

function owing(numTokens: number): { account: TenantAccount } {
  const account = new TenantAccount(numTokens)
  account.deficit = -numTokens
  return { account }
}

t.test('prompts go by priority, then by whose tenant had least, then by age', async (t) => {
  const prompts = new BegunPrompts()
  for (const sequence of [
    makeSequence(1, { priority: 1 }),
    makeSequence(2, {}, owing(9)),
    makeSequence(3, {}, owing(4)),
    makeSequence(4, {}, owing(4)),
    makeSequence(5, { priority: -1 }, owing(50)),
  ]) {
    prompts.push(sequence)
  }
  prompts.sort()
  const ids = Array.from({ length: prompts.length }, (_, i) => prompts.at(i).id)
  t.same(ids, [5, 3, 4, 2, 1])
  prompts.clear()
  t.equal(prompts.length, 0)
})

t.test('a waiting prompt overtakes those it is better than, not for ever', async (t) => {
  const prompts = new BegunPrompts()
  const waiting = makeSequence(9, {}, owing(4))
  t.ok(prompts.mayOvertake(waiting, 0), 'nobody is there')
  const [better, same, worse] = [
    makeSequence(1, { priority: -1 }),
    makeSequence(2, {}, owing(4)),
    makeSequence(3, {}, owing(5)),
  ]
  for (const sequence of [better, same, worse]) prompts.push(sequence)
  t.notOk(prompts.mayOvertake(waiting, 0))
  t.notOk(prompts.mayOvertake(waiting, 1), 'as good is not better')
  for (let i = 0; i < 16; i++) {
    t.ok(prompts.mayOvertake(waiting, 2))
    prompts.countOvertake(2)
  }
  t.notOk(prompts.mayOvertake(waiting, 2))
  t.same(
    [better, same, worse].map((s) => s.numOvertakes),
    [0, 0, 16],
  )
  t.ok(prompts.mayOvertake(waiting, 3))
})
