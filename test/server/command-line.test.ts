import t from 'tap'
import {
  type Command,
  doubtfulVariables,
  environmentName,
  flagName,
  readCommandLine,
  UsageError,
  usageLine,
} from '../../server/command-line.js'
import { integer, list, text, toggle } from '../../server/flag.js'

const flags = {
  port: integer(8000, { min: 0, max: 65_535 }, 'Port.'),
  kvCacheBytes: text('SIZE', undefined, 'Size.'),
  corsOrigin: list('ORIGIN', 'Origins.'),
  offline: toggle('No network.'),
}
const command: Command<typeof flags> = {
  name: 'pull',
  summary: 'Fetch.',
  positionals: ['MODEL'],
  flags,
  examples: [],
}
const read = (words: readonly string[], env: Record<string, string> = {}) =>
  readCommandLine(command, words, env)

t.test('names', async (t) => {
  t.equal(flagName('kvCacheBytes'), '--kv-cache-bytes')
  t.equal(environmentName('kvCacheBytes'), 'KVASIR_KV_CACHE_BYTES')
  t.equal(usageLine(command), 'kvasir pull MODEL [flags]')
})

t.test('command line over environment over default', async (t) => {
  t.strictSame(read(['m']).flags, {
    port: 8000,
    kvCacheBytes: undefined,
    corsOrigin: [],
    offline: false,
  })
  const env = { KVASIR_PORT: '1', KVASIR_OFFLINE: 'true', KVASIR_KV_CACHE_BYTES: '' }
  t.match(read(['m'], env).flags, { port: 1, offline: true, kvCacheBytes: undefined })
  t.match(read(['m', '--port', '2', '--offline=no'], env).flags, { port: 2, offline: false })
  t.match(read(['--port=3', 'm', '--offline', '--cors-origin', 'a,b']), {
    flags: { port: 3, offline: true, corsOrigin: ['a', 'b'] },
    positionals: ['m'],
  })
  t.equal(read(['m', '--port', '4', '--port', '5']).flags.port, 5, 'the last one counts')
})

t.test('what is refused', async (t) => {
  const refused: readonly (readonly [readonly string[], RegExp])[] = [
    [['m', '--prot', '1'], /There is no flag --prot\. Did you mean --port\?/],
    [['m', '--hlep'], /Did you mean --help\?/],
    [['m', '--zzzzzzzz'], /There is no flag --zzzzzzzz\.$/],
    [['m', '-p', '1'], /There is no flag -p\./],
    [['m', '--port', 'abc'], /^--port abc: expected a whole number from 0 to 65535$/],
    [['m', '--port'], /^--port needs a value: --port N$/],
    [['m', '--port', '--offline'], /^--port needs a value/],
    [['m', '--kv-cache-bytes='], /it is empty/],
    [[], /^MODEL is missing: kvasir pull MODEL \[flags\]$/],
    [['a', 'b'], /^"b" is one word too many/],
  ]
  for (const [words, message] of refused) {
    t.throws(() => read(words), { message }, words.join(' '))
    t.throws(() => read(words), UsageError)
  }
  t.throws(() => read(['m'], { KVASIR_PORT: '99999' }), { message: /^KVASIR_PORT=99999: expected/ })
})

t.test('help needs nothing else to be right', async (t) => {
  t.ok(read(['--help']).wantsHelp)
  t.ok(read(['-h']).wantsHelp)
  t.notOk(read(['m']).wantsHelp)
})

t.test('variables that look like a slip', async (t) => {
  const env = { KVASIR_PROT: '1', KVASIR_PORT: '1', KVASIR_ISA: 'avx2', PORT: '1' }
  t.strictSame(doubtfulVariables(flags, env), [
    'KVASIR_PROT is not a setting; did you mean KVASIR_PORT?',
  ])
})
