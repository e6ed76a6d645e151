import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** The real python3, or undefined where there is none. */
export function findPython(): string | undefined {
  try {
    const args = ['-c', 'import sys; print(sys.executable)']
    return execFileSync('python3', args, { encoding: 'utf8', stdio: 'pipe' }).trim()
  } catch {
    return undefined
  }
}

/**
 * A folder for PATH with a python3 whose `-m pip` runs `pipScript` (a shell script that gets the
 * destination folder as $DEST) and whose `-c` is the real one's. Each call leaves a line in `log`.
 */
export function fakePython(folder: string, pipScript: string): { path: string; log: string } {
  const bin = join(folder, 'bin')
  const log = join(folder, 'python-calls.log')
  mkdirSync(bin, { recursive: true })
  const real = findPython() ?? 'false'
  const script = `#!/bin/sh
echo "$*" >> '${log}'
if [ "$1" = -c ]; then exec '${real}' "$@"; fi
while [ $# -gt 1 ]; do
  if [ "$1" = --dest ]; then DEST=$2; fi
  shift
done
${pipScript}
`
  writeFileSync(join(bin, 'python3'), script)
  chmodSync(join(bin, 'python3'), 0o755)
  return { path: `${bin}:/usr/bin:/bin`, log }
}
