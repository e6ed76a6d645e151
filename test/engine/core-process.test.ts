import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { CoreProcess } from '../../engine/core-process.js'
import { encodeFatal, encodeLoading, type FromCore } from '../../engine/frames-from-core.js'
import { isAlive, until } from '../support/processes.js'
import { RecordingLogger } from './support/recording-logger.js'

t.test('frames in one write or in single bytes arrive whole and in order', async (t) => {
  const frames = [encodeLoading(1, 3), encodeLoading(2, 3), encodeLoading(3, 3)]
  const bytes = JSON.stringify([...Buffer.concat(frames)])
  for (const size of [1, 1000]) {
    const run = runScript(
      t,
      `const bytes = Buffer.from(${bytes})
       for (let i = 0; i < bytes.length; i += ${size}) fs.writeSync(3, bytes.subarray(i, i + ${size}))`,
    )
    await until(() => run.exits.length === 1)
    t.match(run.messages, [{ numBytesDone: 1 }, { numBytesDone: 2 }, { numBytesDone: 3 }])
    t.match(run.exits[0], /code 0/)
  }
})

t.test('its last words become the reason', async (t) => {
  const bytes = JSON.stringify([...encodeFatal('a block is lost')])
  const run = runScript(t, `fs.writeSync(3, Buffer.from(${bytes})); process.exit(22)`)
  await until(() => run.exits.length === 1)
  t.equal(run.exits[0], 'a step failed (code 22); a block is lost')
})

t.test('what it prints is logged by line, with a bound for a line', async (t) => {
  const run = runScript(t, `console.log('x'.repeat(10000) + '\\nshort'); console.error('oops')`)
  await until(() => run.exits.length === 1)
  t.ok(run.logger.lines.includes('info core: short'))
  t.ok(run.logger.lines.includes('warn core: oops'))
  t.ok(run.logger.lines.every((line) => line.length < 5000))
})

t.test('speaking to a process that is gone is harmless, and so is ending it', async (t) => {
  const run = runScript(t, 'process.exit(0)')
  await until(() => run.exits.length === 1)
  run.core.send(Buffer.alloc(1 << 20))
  run.core.kill('too late')
  await run.core.end()
  t.equal(run.exits.length, 1)
})

t.test('the pipe ends with end(), and who ignores that is killed', async (t) => {
  const polite = runScript(t, `fs.readSync(3, Buffer.alloc(1)); process.exit(0)`)
  await polite.core.end()
  t.match(polite.exits[0], /code 0/)

  const deaf = runScript(t, `process.on('SIGTERM', () => {}); for (;;);`)
  await deaf.core.end()
  t.match(deaf.exits[0], /SIGKILL/)
  t.equal(isAlive(deaf.core.pid), false)
})

/** A core process that runs these lines. */
function runScript(t: Test, lines: string) {
  const entryPath = join(t.testdir({}), 'script.cjs')
  writeFileSync(entryPath, `const fs = require('node:fs')\n${lines}\n`)
  const messages: FromCore[] = []
  const exits: string[] = []
  const logger = new RecordingLogger()
  const core = new CoreProcess({
    entryPath,
    logger,
    onMessage: (message) => messages.push(message),
    onExit: (reason) => exits.push(reason),
  })
  t.teardown(() => core.kill('the test is over'))
  return { core, messages, exits, logger }
}
