import t from 'tap'
import { ignored, refused, supported } from '../../../server/schemas/field.js'

t.test('three verdicts', async (t) => {
  t.match(supported('A.', 3), { verdict: 'supported', note: 'A.', neutral: [], maxEntries: 3 })
  t.match(supported('A.'), { maxEntries: Number.POSITIVE_INFINITY })
  t.match(ignored('B.'), { verdict: 'ignored', note: 'B.', neutral: [] })
  t.match(refused('C.', 1, []), { verdict: 'refused', note: 'C.', neutral: [1, []] })
})
