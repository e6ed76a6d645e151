import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'

const main = fileURLToPath(new URL('../../server/main.js', import.meta.url))

function start(t: Test, words: readonly string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [main, ...words], {
    env: { ...process.env, HOME: '/nonexistent', XDG_CACHE_HOME: '', ...env },
  })
  t.teardown(() => child.kill('SIGKILL'))
  const written = { out: '', err: '' }
  child.stdout.on('data', (piece) => {
    written.out += piece
  })
  child.stderr.on('data', (piece) => {
    written.err += piece
  })
  const exit = once(child, 'close').then(([code, signal]) => ({ code, signal, ...written }))
  return { child, written, exit }
}

t.test('exit codes of the program', async (t) => {
  t.match(await start(t, ['--version']).exit, { code: 0, out: /^\d+\.\d+\.\d+\n$/, err: '' })
  t.match(await start(t, ['serv']).exit, { code: 2, out: '', err: /Did you mean serve\?/ })
  const missing = await start(t, [
    'serve',
    '--port',
    '0',
    '--model',
    '/no/such',
    '--log-level',
    'silent',
  ]).exit
  t.match(missing, { code: 1, err: /^kvasir: There is no file or folder \/no\/such\./ })
  t.notMatch(missing.err, /^\s+at /m)
})

/** A hub that takes connections and never answers: the server waits in its fetching. */
async function startFetching(t: Test) {
  const hub = createServer().listen(0, '127.0.0.1')
  await once(hub, 'listening')
  t.teardown(() => hub.close())
  const run = start(t, ['serve', '--port', '0', '--model', 'owner/name'], {
    HF_ENDPOINT: `http://127.0.0.1:${(hub.address() as AddressInfo).port}`,
    HF_HUB_OFFLINE: '',
    HF_HOME: '/nonexistent/hub',
  })
  const [socket] = await once(hub, 'connection')
  t.teardown(() => socket.destroy())
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(run.written.out)?.[0] ?? ''
  return { ...run, url }
}

t.test('the port answers while the model is fetched; Ctrl-C ends it with 0', async (t) => {
  const { child, exit, url } = await startFetching(t)
  t.equal((await fetch(`${url}/health`)).status, 200)
  const ready = await fetch(`${url}/ready`)
  t.equal(ready.status, 503)
  t.match(await ready.json(), { error: { code: 'model_loading' } })
  const chat = await fetch(`${url}/v1/chat/completions`, { method: 'POST' })
  t.equal(chat.status, 503)
  child.kill('SIGINT')
  t.match(await exit, {
    code: 0,
    signal: null,
    out: /SIGINT: no request is open[\s\S]*Stopped\.\n$/,
  })
})
