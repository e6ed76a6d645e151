import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { probeMachine } from '../../engine/probe-machine.js'

const script = (t: Test, code: string) => {
  const path = join(t.testdir(), 'probe.cjs')
  writeFileSync(path, code)
  return path
}

t.test('the addon is asked in a process of its own', async (t) => {
  const { cpu, numThreads, memoryLimitBytes, cuda } = await probeMachine()
  t.ok(cpu.kernels.length > 0)
  t.ok(numThreads >= 1 && memoryLimitBytes > 2 ** 28)
  t.type(cuda.isBuilt, 'boolean')
  t.ok(cuda.devices.length > 0 || cuda.fault !== null, 'a GPU, or the reason why not')
})

t.test('an error there is an error here, in its words', async (t) => {
  await t.rejects(probeMachine(script(t, "throw new Error('the addon is gone')")), {
    message: 'the addon is gone',
  })
})

t.test('a crash says how it ended', async (t) => {
  const crash = "process.kill(process.pid, 'SIGSEGV'); setTimeout(() => {}, 5000)"
  await t.rejects(probeMachine(script(t, crash)), /was ended by SIGSEGV/)
  await t.rejects(probeMachine(script(t, 'process.exit(3)')), /exited with code 3/)
})
