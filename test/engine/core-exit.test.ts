import t from 'tap'
import { coreExitCode, describeCoreExit } from '../../engine/core-exit.js'

t.test('every code has a meaning, and they differ', (t) => {
  const clauses = Object.values(coreExitCode).map((code) => describeCoreExit(code, null))
  t.equal(new Set(clauses).size, clauses.length)
  t.ok(clauses.every((clause) => !clause.startsWith('it exited')))
  t.end()
})

t.test('other ends are named by signal or code', (t) => {
  t.equal(describeCoreExit(null, 'SIGSEGV'), 'it was ended by SIGSEGV')
  t.equal(describeCoreExit(7, null), 'it exited with code 7')
  t.end()
})
