/**
 * `npm run simulate`: builds, then simulates the scheduler (docs/reliability.md). With --traffic it
 * plans instead: how a device of known speed would serve such users. Flags are passed on.
 */
import { spawnSync } from 'node:child_process'
import process from 'node:process'
import { ensureTypeScript } from './build.mjs'

ensureTypeScript()
const args = process.argv.slice(2)
const isTraffic = args.some((arg) => arg.startsWith('--traffic'))
const program = isTraffic
  ? 'dist/bench/scheduler/traffic-main.js'
  : 'dist/test/scheduler/simulation/main.js'
const { status } = spawnSync(process.execPath, [program, ...args], { stdio: 'inherit' })
process.exitCode = status ?? 1
