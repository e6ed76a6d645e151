/** `npm run bench`: builds, then measures against llama.cpp on this machine. Flags are passed on. */
import { spawnSync } from 'node:child_process'
import process from 'node:process'
import { ensureBuilt } from './build.mjs'

ensureBuilt({ withTests: false })
const args = ['dist/bench/server/main.js', ...process.argv.slice(2)]
process.exitCode = spawnSync(process.execPath, args, { stdio: 'inherit' }).status ?? 1
