import t from 'tap'
import { runCli } from '../../server/cli.js'
import { version } from '../../server/version.js'

async function run(words: readonly string[], env: Record<string, string> = {}) {
  let out = ''
  let err = ''
  const outcome = await runCli(words, {
    out: { write: (text) => (out += text) },
    err: { write: (text) => (err += text) },
    env: { HF_HUB_OFFLINE: '1', HOME: '/nonexistent', ...env },
  })
  return { outcome, out, err }
}

t.test('help and version', async (t) => {
  for (const words of [[], ['help'], ['--help'], ['-h']]) {
    t.match(await run(words), { outcome: 0, out: /Usage: kvasir COMMAND/, err: '' })
  }
  for (const words of [['--version'], ['-v']]) {
    t.strictSame(await run(words), { outcome: 0, out: `${version}\n`, err: '' })
  }
  for (const name of ['serve', 'pull', 'check']) {
    t.match(await run([name, '--help']), { outcome: 0, out: `Usage: kvasir ${name}`, err: '' })
  }
})

t.test('what is not understood: exit code 2 and one line', async (t) => {
  for (const [words, message] of [
    [['serv'], 'Did you mean serve?'],
    [['something-else'], 'There are serve, pull, check, doctor.'],
    [['--port', '8000'], 'kvasir serve --port'],
    [['serve', '--prot', '1'], 'Did you mean --port?'],
    [['serve', '--kv-cache-dtype', 'float61'], 'did you mean float16?'],
    [['pull'], 'MODEL is missing'],
    [['check', 'a', 'b'], 'one word too many'],
  ] as const) {
    const { outcome, out, err } = await run(words)
    t.equal(outcome, 2, words.join(' '))
    t.equal(out, '')
    t.match(err, message)
    t.match(err, /^kvasir: [^\n]+\n$/)
  }
})

t.test('what does not work: exit code 1, no stack', async (t) => {
  for (const words of [
    ['check', '/no/such'],
    ['pull', 'no-such-short-name'],
    ['pull', 'owner/name'],
    ['check', 'package.json'],
  ]) {
    const { outcome, out, err } = await run(words)
    t.equal(outcome, 1, words.join(' '))
    t.notMatch(err + out, /^\s+at /m)
    t.not(err + out, '')
  }
})

t.test('a misspelt variable is mentioned', async (t) => {
  t.match((await run(['pull', 'owner/name'], { KVASIR_PROT: '1' })).err, /did you mean KVASIR_PORT/)
})
