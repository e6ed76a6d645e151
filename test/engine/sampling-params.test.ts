import t from 'tap'
import { maxPriority, minPriority } from '../../engine/sampling-params.js'
import * as sequence from '../../scheduler/sequence.js'

t.test('the front refuses the priorities that the scheduler would, and no other', async (t) => {
  t.equal(minPriority, sequence.minPriority)
  t.equal(maxPriority, sequence.maxPriority)
})
