/** Formatting, lint and types; with --fix, repairs what can be repaired. */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { pathToFileURL } from 'node:url'
import { ensureDependencies } from './setup.mjs'

const nativeFolders = ['native', 'kernels', 'test', 'bench']

function findNativeSources(folder) {
  const found = []
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) found.push(...findNativeSources(path))
    else if (/\.(cpp|h|cu|cuh)$/.test(entry.name)) found.push(path)
  }
  return found
}

function run(program, args) {
  process.stderr.write(`kvasir: ${[program, ...args].join(' ').slice(0, 90)}\n`)
  return spawnSync(program, args, { stdio: ['ignore', 2, 'inherit'] }).status === 0
}

/** True when everything is in order. */
export function check({ fix = false } = {}) {
  const sources = nativeFolders.flatMap(findNativeSources)
  const biome = ['check', '--error-on-warnings', ...(fix ? ['--write'] : []), '.']
  const results = [
    run('node_modules/.bin/biome', biome),
    run('node_modules/.bin/clang-format', [
      ...(fix ? ['-i'] : ['--dry-run', '--Werror']),
      ...sources,
    ]),
    run('node_modules/.bin/tsc', ['-p', '.', '--noEmit', '--incremental', 'false']),
  ]
  return results.every(Boolean)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  ensureDependencies()
  process.exitCode = check({ fix: process.argv.includes('--fix') }) ? 0 : 1
}
