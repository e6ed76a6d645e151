import { readdirSync } from 'node:fs'
import t from 'tap'

// Every C++ test of this folder is a program that prints TAP: each of its lines counts here. Those
// that need a GPU are run by `npm run test:gpu`.
for (const file of readdirSync('test/native')) {
  if (!file.endsWith('_test.cpp') || file.endsWith('_cuda_test.cpp')) continue
  const program = file.replace(/\.cpp$/, '')
  t.spawn(`build/native/test/${program}`, [], {}, program)
}
