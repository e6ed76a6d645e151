import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import t from 'tap'
import { readCommandLine } from '../../../server/command-line.js'
import { nameFromFlag, serve, toAppConfig } from '../../../server/commands/serve.js'
import { serveCommand } from '../../../server/commands.js'
import { defaultAppConfig } from '../../../server/route-config.js'

const flagsOf = (...words: string[]) => readCommandLine(serveCommand, words, {}).flags

t.test('flags become the configuration of the application', async (t) => {
  t.strictSame(toAppConfig(flagsOf()), defaultAppConfig)
  const words = '--host box --served-model-name a,b,c --model-check any --unknown-params reject'
  const more =
    '--cors-origin https://x --expose-internal-state --default-max-tokens 9 --max-n 4 --max-queue-ms 50'
  t.match(toAppConfig(flagsOf(...words.split(' '), ...more.split(' '))), {
    host: 'box',
    modelAliases: ['b', 'c'],
    modelCheck: 'any',
    unknownParams: 'reject',
    corsOrigins: ['https://x'],
    exposeInternalState: true,
    defaultMaxTokens: 9,
    maxChoices: 4,
    canExpire: true,
  })
})

t.test('what clients call the model', async (t) => {
  t.equal(nameFromFlag('smollm2-135m-instruct'), 'smollm2-135m-instruct')
  t.equal(nameFromFlag('owner/name:file.gguf'), 'owner/name:file.gguf')
  t.equal(nameFromFlag('test/fixtures/models/llama-tiny/f32'), undefined)
})

t.test('a port in use is found before anything is loaded', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.teardown(() => other.close())
  const { port } = other.address() as AddressInfo
  let out = ''
  const terminal = {
    out: { write: (text: string) => (out += text) },
    err: { write: () => {} },
    env: {},
  }
  const flags = flagsOf('--port', String(port), '--model', '/no/such', '--log-level', 'silent')
  await t.rejects(serve(flags, terminal), {
    name: 'ListenError',
    message: new RegExp(
      `^Port ${port} on 127\\.0\\.0\\.1 is in use[\\s\\S]*--port \\d+ is free\\.$`,
    ),
  })
  t.equal(out, '')
})
