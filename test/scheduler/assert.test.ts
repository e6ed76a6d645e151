import t from 'tap'
import { assert } from '../../scheduler/assert.js'

t.test('a true claim passes, a false one throws its message', async (t) => {
  t.doesNotThrow(() => assert(true, 'never seen'))
  t.throws(() => assert(false, 'the claim'), new Error('the claim'))
})

t.test('the value is appended, zero too', async (t) => {
  t.throws(() => assert(false, 'a bad block', 0), new Error('a bad block: 0'))
})
