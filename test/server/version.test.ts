import { readFileSync } from 'node:fs'
import t from 'tap'
import { version } from '../../server/version.js'

t.test('it is the version of the package', async (t) => {
  t.equal(version, JSON.parse(readFileSync('package.json', 'utf8')).version)
})
