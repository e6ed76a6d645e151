import t from 'tap'
import { editDistance, findNearest } from '../../server/nearest.js'

t.test('edit distance', async (t) => {
  for (const [a, b, distance] of [
    ['', '', 0],
    ['', 'abc', 3],
    ['port', 'port', 0],
    ['prot', 'port', 2],
    ['kitten', 'sitting', 3],
    ['flaw', 'lawn', 2],
  ] as const) {
    t.equal(editDistance(a, b), distance, `${a} ${b}`)
    t.equal(editDistance(b, a), distance, `${b} ${a}`)
  }
})

t.test('the nearest, if one is near', async (t) => {
  const flags = ['--port', '--host', '--model', '--max-sequences']
  t.equal(findNearest('--prot', flags), '--port')
  t.equal(findNearest('--MODEL', flags), '--model')
  t.equal(findNearest('--max-sequence', flags), '--max-sequences')
  t.equal(findNearest('--zzzzzzzz', flags), undefined)
  t.equal(findNearest('x', []), undefined)
})
