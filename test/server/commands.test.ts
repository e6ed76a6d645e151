import { readFileSync } from 'node:fs'
import t from 'tap'
import { environmentName, flagName, readCommandLine } from '../../server/command-line.js'
import { commands, serveCommand, serveFlags } from '../../server/commands.js'
import { commandHelp } from '../../server/help.js'
import { flagReference, replaceSection } from '../../server/reference.js'

t.test('docs/configuration.md and --help have every flag, and no other', async (t) => {
  const page = readFileSync('docs/configuration.md', 'utf8')
  for (const command of commands) {
    t.equal(replaceSection(page, command.name, flagReference(command)), page, command.name)
    const inHelp = commandHelp(command).match(/^ {2}--[a-z-]+/gm) ?? []
    t.strictSame(
      inHelp.map((flag) => flag.trim()).sort(),
      [...Object.keys(command.flags).map(flagName), '--help'].sort(),
    )
  }
  const known = new Set(commands.flatMap(({ flags }) => Object.keys(flags).map(environmentName)))
  for (const [name] of page.matchAll(/\bKVASIR_[A-Z_]+\b/g)) t.ok(known.has(name), name)
})

t.test('flag names cannot be confused with each other', async (t) => {
  const names = Object.keys(serveFlags).map(environmentName)
  t.equal(new Set(names).size, names.length)
})

t.test('defaults', async (t) => {
  t.strictSame(readCommandLine(serveCommand, [], {}).flags, {
    host: '127.0.0.1',
    port: 8000,
    model: 'smollm2-135m-instruct',
    servedModelName: [],
    modelCheck: 'strict',
    device: 'auto',
    dtype: 'auto',
    numerics: 'reference',
    batchInvariant: false,
    gpuMemoryFraction: 0.9,
    cudaGraphs: 'on',
    threads: undefined,
    kvCacheDtype: 'float16',
    kvCacheBytes: undefined,
    maxTokensPerStep: undefined,
    maxSequences: undefined,
    overlap: 'on',
    maxStepMs: undefined,
    maxQueueMs: undefined,
    tenantCacheShare: 0.5,
    trace: undefined,
    maxQueuedRequests: 256,
    maxQueuedTokens: undefined,
    maxN: 16,
    defaultMaxTokens: undefined,
    corsOrigin: [],
    unknownParams: 'warn',
    drainTimeout: 30_000,
    logLevel: 'info',
    exposeInternalState: false,
    offline: false,
  })
})

t.test('every example is a command line that is understood', async (t) => {
  for (const { examples } of commands) {
    t.ok(examples.length > 0)
    for (const example of examples) {
      const words = example.split(' ')
      const env = words[0]!.includes('=') ? Object.fromEntries([words.shift()!.split('=')]) : {}
      const [program, name, ...rest] = words
      const command = commands.find((one) => one.name === name)
      t.equal(program, 'kvasir')
      t.ok(readCommandLine(command!, rest, env), example)
    }
  }
})
