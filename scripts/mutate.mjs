/**
 * `npm run mutate`: how many small mistakes in scheduler/ its unit tests notice.
 *
 *   npm run mutate -- --sample 500 --seed 1   so many mutants, chosen by the seed
 *   npm run mutate -- --all                   every one; three quarters of an hour
 *   npm run mutate -- --file tenants          those of one source alone
 *
 * A mutant is killed when a test fails or the tests do not end; one that every test lets pass has
 * survived, and is printed. Ends with 1 if fewer than 85 % are killed. Mutants that behave like the
 * original are in scripts/mutate/equivalent.json, each with its reason, and are not counted.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { setPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { findMutants } from './mutate/mutants.mjs'
import { Sandbox } from './mutate/sandbox.mjs'

const minScore = 0.85
const numWorkers = 2
/** A test may take so many times what all took before, and at least so long, before it hangs. */
const patience = 4
const minTimeoutMs = 15_000

const { values: options } = parseArgs({
  options: {
    sample: { type: 'string', default: '500' },
    seed: { type: 'string', default: '1' },
    file: { type: 'string' },
    all: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
  },
})

function listFiles(folder, pattern) {
  return readdirSync(folder)
    .filter((name) => pattern.test(name))
    .map((name) => `${folder}/${name}`)
}

/** Every mutant of every source, those that are known to be equivalent marked. */
function collectMutants() {
  const known = JSON.parse(readFileSync('scripts/mutate/equivalent.json', 'utf8'))
  const unused = new Set(known)
  const mutants = []
  for (const path of listFiles('scheduler', /\.ts$/)) {
    const sourceText = readFileSync(path, 'utf8')
    for (const mutant of findMutants(path, sourceText)) {
      const { source, change } = mutant
      const isIt = (entry) =>
        entry.file === path &&
        entry.source === source &&
        (entry.change === undefined || entry.change === change)
      const entry = known.find(isIt)
      unused.delete(entry)
      mutants.push({ ...mutant, path, sourceText, isEquivalent: entry !== undefined })
    }
  }
  for (const entry of unused) {
    throw new Error(`equivalent.json names no mutant: ${entry.file}: ${entry.source}. Remove it.`)
  }
  return mutants
}

/** Integers below 2^32 from a seed (mulberry32). */
function randomFrom(seed) {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
}

/** In an order that the seed alone decides: so a larger sample contains a smaller one. */
function shuffle(list, seed) {
  const random = randomFrom(seed)
  const shuffled = [...list]
  for (let i = 0; i < shuffled.length; i++) {
    const j = i + (random() % (shuffled.length - i))
    ;[shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]]
  }
  return shuffled
}

async function runMutants(mutants, sandboxes, timeoutMs) {
  let next = 0
  const work = async (sandbox) => {
    while (next < mutants.length) {
      const mutant = mutants[next++]
      const { path, sourceText, start, end, text } = mutant
      const mutantText = sourceText.slice(0, start) + text + sourceText.slice(end)
      mutant.result = await sandbox.runMutant(path, sourceText, mutantText, timeoutMs)
      const mark = mutant.result === 'passed' ? 'SURVIVED' : mutant.result
      process.stderr.write(`${mark}  ${describe(mutant)}\n`)
    }
  }
  await Promise.all(sandboxes.map(work))
}

function describe({ path, line, change }) {
  return `${path}:${line}  ${change}`
}

function printReport(mutants) {
  const paths = [...new Set(mutants.map(({ path }) => path))].sort()
  const lines = [['file', 'mutants', 'killed', 'survived']]
  const isAlive = (mutant) => mutant.result === 'passed'
  for (const path of paths) {
    const ofFile = mutants.filter((mutant) => mutant.path === path)
    const numAlive = ofFile.filter(isAlive).length
    lines.push([path, ofFile.length, ofFile.length - numAlive, numAlive])
  }
  const survivors = mutants.filter(isAlive)
  const numKilled = mutants.length - survivors.length
  lines.push(['all', mutants.length, numKilled, survivors.length])
  for (const [path, ...counts] of lines) {
    const cells = counts.map((count) => String(count).padStart(9))
    process.stdout.write(`${path.padEnd(30)}${cells.join('')}\n`)
  }
  process.stdout.write(`\n${survivors.length} survived\n`)
  for (const mutant of survivors) process.stdout.write(`  ${describe(mutant)}\n`)
  return numKilled / mutants.length
}

async function main() {
  // A long job beside somebody's work.
  setPriority(10)
  const seed = Number(options.seed)
  const isAsked = ({ path }) => !options.file || path === `scheduler/${options.file}.ts`
  const eligible = shuffle(collectMutants(), seed).filter(isAsked)
  const counted = eligible.filter((mutant) => !mutant.isEquivalent)
  const mutants = options.all ? counted : counted.slice(0, Number(options.sample))
  const numEquivalent = eligible.length - counted.length
  if (mutants.length === 0) {
    throw new Error(
      `Nothing to judge: --sample ${options.sample}, --file ${options.file ?? 'any'}. ` +
        'The sample must be 1 or more, the file a source without its folder and .ts: --file seats',
    )
  }
  const count = `${mutants.length} of ${counted.length} mutants, seed ${seed}`
  process.stdout.write(`${count}; ${numEquivalent} more are known to be equivalent\n`)
  if (options.list) {
    for (const mutant of mutants) process.stdout.write(`  ${describe(mutant)}\n`)
    return
  }
  // The simulation is another kind of proof, with a table of its own mistakes; what is allocated is
  // measured, and a measurement may fail by chance.
  const tests = listFiles('test/scheduler', /^(?!simulation|allocation).*\.test\.ts$/)
  const root = mkdtempSync(join(tmpdir(), 'kvasir-mutate-'))
  try {
    const sandboxes = Array.from({ length: numWorkers }, (_, i) => {
      const folder = join(root, String(i))
      mkdirSync(folder)
      return new Sandbox(folder, ['scheduler', 'test/scheduler'], tests)
    })
    const startedMs = Date.now()
    const result = await sandboxes[0].run(300_000)
    if (result !== 'passed') {
      throw new Error(
        `Without a mutant the tests ${result}. See \`npm test scheduler\`, mend that first.`,
      )
    }
    const timeoutMs = Math.max(minTimeoutMs, patience * (Date.now() - startedMs))
    process.stderr.write(`without a mutant: ${Date.now() - startedMs} ms\n`)
    await runMutants(mutants, sandboxes, timeoutMs)
    const numLate = mutants.filter((mutant) => mutant.result === 'timeout').length
    const score = printReport(mutants)
    const seconds = Math.round((Date.now() - startedMs) / 1000)
    const percent = `${(100 * score).toFixed(1)} %`
    process.stdout.write(`\n${percent} killed, ${numLate} of them by time; ${seconds} s\n`)
    if (score < minScore) process.exitCode = 1
  } finally {
    rmSync(root, { recursive: true })
  }
}

await main()
