import { execFile } from 'node:child_process'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { CpuFeatures, CudaStatus } from './machine.js'

/** What the native addon finds on this machine. */
export interface MachineReport {
  readonly cpu: CpuFeatures
  /** Threads that compute by default. */
  readonly numThreads: number
  readonly memoryLimitBytes: number
  readonly cuda: CudaStatus
}

const probePath = fileURLToPath(new URL('./core/probe.js', import.meta.url))
const timeoutMs = 30_000

/**
 * Asks in a process of its own: the front never loads the addon. Rejects with an Error whose message
 * is what that process said last.
 */
export async function probeMachine(entryPath = probePath): Promise<MachineReport> {
  try {
    const options = { timeout: timeoutMs }
    const { stdout } = await promisify(execFile)(process.execPath, [entryPath], options)
    return JSON.parse(stdout) as MachineReport
  } catch (error) {
    const {
      stderr = '',
      signal,
      code,
    } = error as { stderr?: string; signal?: string; code?: number }
    // Node prints the source line first and the stack behind; the message is between them.
    const message = /^(?:\w*Error): (.*)$/m.exec(stderr)?.[1]
    const end = signal ? `was ended by ${signal}` : `exited with code ${code}`
    throw new Error(message ?? `The process that looks at the machine ${end}.`, { cause: error })
  }
}
