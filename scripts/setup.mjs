/** Installs what package-lock.json names, once, and turns the git hooks on. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import process from 'node:process'
import { pathToFileURL } from 'node:url'
import { digestOf, isCurrent, writeStamp } from './stamp.mjs'
import { refuse, requireNode } from './toolchain.mjs'

const stampPath = 'node_modules/.kvasir-stamp'

export function say(sentence) {
  process.stderr.write(`kvasir: ${sentence}\n`)
}

/** Runs a program with our own standard streams; ends the process with `advice` if it fails. */
export function runOrRefuse(program, args, advice) {
  const result = spawnSync(program, args, { stdio: ['inherit', 2, 'inherit'] })
  if (result.status === 0) return
  const why = result.error ? result.error.message : `it ended with status ${result.status}`
  refuse(`\`${program} ${args.join(' ')}\` failed: ${why}. ${advice}`)
}

export function ensureDependencies() {
  requireNode()
  const digest = digestOf(['package.json', 'package-lock.json'], /.*/, process.versions.modules)
  if (isCurrent(stampPath, digest)) return
  say('installing dependencies (npm ci)')
  runOrRefuse(
    'npm',
    ['ci', '--no-audit', '--no-fund', '--loglevel=error'],
    'Is the package registry reachable? `npm ci` on its own shows more.',
  )
  writeStamp(stampPath, digest)
  if (existsSync('.git')) spawnSync('git', ['config', 'core.hooksPath', '.githooks'])
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) ensureDependencies()
