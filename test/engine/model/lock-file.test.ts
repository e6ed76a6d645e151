import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { withLock } from '../../../engine/model/lock-file.js'

t.test('one at a time, and nothing stays behind', async (t) => {
  const path = join(t.testdir(), 'locks', 'a.lock')
  let numInside = 0
  let numWaits = 0
  const work = async () => {
    numInside++
    t.equal(numInside, 1)
    await sleep(5)
    numInside--
  }
  const onWait = () => numWaits++
  await Promise.all(Array.from({ length: 4 }, () => withLock(path, work, { onWait })))
  t.equal(numWaits, 3)
  t.same(readdirSync(dirname(path)), [])
})

t.test('it is given back when the work fails', async (t) => {
  const path = join(t.testdir(), 'a.lock')
  await t.rejects(
    withLock(path, () => Promise.reject(new Error('work'))),
    /work/,
  )
  t.equal(existsSync(path), false)
})

t.test("a dead process's lock, and one without a heartbeat, are taken over by one", async (t) => {
  const { pid } = spawnSync('true')
  const holders: [string, boolean][] = [
    [JSON.stringify({ pid, host: hostname(), id: 'dead' }), false],
    [JSON.stringify({ pid: process.pid, host: 'elsewhere', id: 'stopped' }), true],
  ]
  for (const [holder, isOld] of holders) {
    const path = join(t.testdir(), 'a.lock')
    writeFileSync(path, holder)
    if (isOld) utimesSync(path, new Date(0), new Date(0))
    let numInside = 0
    const work = async () => {
      t.equal(++numInside, 1)
      await sleep(5)
      numInside--
    }
    await Promise.all(Array.from({ length: 4 }, () => withLock(path, work)))
    t.same(readdirSync(dirname(path)), [], holder)
  }
})

t.test('a living lock is waited for, until the caller gives up', async (t) => {
  const path = join(t.testdir(), 'a.lock')
  writeFileSync(path, JSON.stringify({ pid: 1, host: hostname(), id: 'alive' }))
  const controller = new AbortController()
  const waiting = withLock(path, async () => t.fail('entered'), { signal: controller.signal })
  setTimeout(() => controller.abort(), 20)
  await t.rejects(waiting, { name: 'AbortError' })
  t.equal(existsSync(path), true)
})
