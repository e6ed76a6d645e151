/**
 * `npm test`: builds, checks and runs every test. `npm run test:unit` and its sisters run a part.
 * Ends with a plain line: N passed, N failed.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { ensureBuilt } from './build.mjs'
import { check } from './check.mjs'
import { say } from './setup.mjs'

/** Folders of compiled tests by part; what is in no other part is a unit test. */
const parts = {
  kernels: ['dist/test/kernels', 'dist/test/native'],
  http: ['dist/test/http', 'dist/test/models'],
}

function findTests(folder) {
  const found = []
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) found.push(...findTests(path))
    else if (entry.name.endsWith('.test.js') && isSourceThere(path)) found.push(path)
  }
  return found.sort()
}

/** A compiled test whose source was deleted since is not a test any more. */
function isSourceThere(path) {
  try {
    readFileSync(path.replace(/^dist\//, '').replace(/\.js$/, '.ts'))
    return true
  } catch {
    return false
  }
}

function selectTests(part) {
  const all = findTests('dist/test')
  const isIn = (name) => (path) => parts[name].some((folder) => path.startsWith(`${folder}/`))
  if (part === undefined) return all
  if (part in parts) return all.filter(isIn(part))
  if (part === 'unit') return all.filter((path) => !isIn('kernels')(path) && !isIn('http')(path))
  return all.filter((path) => path.includes(part))
}

/** The default model makes the tests on real weights possible; without it they say they are skipped. */
function fetchDefaultModel() {
  say('looking for the default model (its tests are skipped when it cannot be had)')
  const args = ['dist/server/main.js', 'pull', 'smollm2-135m-instruct']
  const pull = spawnSync(process.execPath, args, {
    stdio: ['ignore', 2, 'inherit'],
    timeout: 600_000,
  })
  if (pull.status !== 0) say('the default model could not be had: its tests are skipped')
}

/** Runs the files under tap and counts assertions from the TAP it writes. */
function runTap(files) {
  mkdirSync('.tap', { recursive: true })
  const outputPath = '.tap/all.tap'
  const args = [
    'run',
    '--disable-coverage',
    '--allow-empty-coverage',
    '--plugin=!@tapjs/typescript',
    '--jobs=2',
    '--timeout=600',
    '--reporter=terse',
    `--output-file=${outputPath}`,
    ...files,
  ]
  const { status } = spawnSync('node_modules/.bin/tap', args, { stdio: ['ignore', 1, 2] })
  return { ...countResults(readFileSync(outputPath, 'utf8')), hasFailed: status !== 0 }
}

/** tap closes its output with a line such as `# { total: 504, pass: 416, fail: 88 }`. */
function countResults(tapOutput) {
  const totals = tapOutput.match(/^# \{ total: .*\}$/gm)?.at(-1) ?? ''
  const read = (name) => Number(new RegExp(`${name}: (\\d+)`).exec(totals)?.[1] ?? 0)
  return { numPassed: read('pass'), numFailed: read('fail'), numSkipped: read('skip') }
}

const part = process.argv[2]
ensureBuilt({ withTests: true })
const isTidy = part !== undefined || check()
if (part === undefined || part === 'http') fetchDefaultModel()
const { numPassed, numFailed, numSkipped, hasFailed } = runTap(selectTests(part))
if (!isTidy)
  say('formatting, lint or types are not in order: see above, `npm run fix` repairs most of it')
const numFailures = Math.max(numFailed + (isTidy ? 0 : 1), hasFailed ? 1 : 0)
// On a line of its own: tap leaves the cursor, and its codes, wherever it was.
process.stdout.write(`\n${numPassed} passed, ${numFailures} failed, ${numSkipped} skipped\n`)
process.exitCode = numFailures === 0 ? 0 : 1
