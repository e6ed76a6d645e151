import { readdirSync } from 'node:fs'
import t from 'tap'

// Every C++ test of this folder is a program that prints TAP: each of its lines counts here.
for (const file of readdirSync('test/llaisys')) {
  if (!file.endsWith('_test.cpp')) continue
  const program = file.replace(/\.cpp$/, '')
  t.spawn(`build/native/test/llaisys/${program}`, [], {}, program)
}
