/**
 * `npm run test:gpu` and `npm run bench:gpu`: the C++ programs of the CUDA kernels, then the programs
 * that go through Node. Further arguments go to the latter (test/gpu/main.ts, bench/gpu/main.ts).
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { ensureBuilt } from './build.mjs'
import { say } from './setup.mjs'

const [what, ...args] = process.argv.slice(2)
const programs = { test: 'build/native/gpu-test', bench: 'build/native/gpu-bench' }
const mains = { test: 'dist/test/gpu/main.js', bench: 'dist/bench/gpu/main.js' }

function run(program, args) {
  say(`${program} ${args.join(' ')}`.trim())
  return spawnSync(program, args, { stdio: 'inherit' }).status === 0
}

ensureBuilt({ withTests: true })
const folder = programs[what]
const names = existsSync(folder) ? readdirSync(folder).sort() : []
if (names.length === 0) say('this build has no CUDA: nvcc was not found when it was made')
const failed = names.filter((name) => !run(join(folder, name), []))
if (!run(process.execPath, [mains[what], ...args])) failed.push(mains[what])
if (failed.length > 0) say(`failed: ${failed.join(', ')}`)
process.exitCode = failed.length === 0 ? 0 : 1
