import { execFile } from 'node:child_process'
import process from 'node:process'
import { promisify } from 'node:util'
import type { DeviceRequest } from '../../engine/frames-to-core.js'
import { probeMachine } from '../../engine/probe-machine.js'
import type { Terminal } from '../command-line.js'
import { doctorLines, isFit } from '../doctor-report.js'

/** `kvasir doctor`: 0 if `kvasir serve` could use the device asked for, 1 if it could not. */
export async function doctor(request: DeviceRequest, terminal: Terminal): Promise<number> {
  const findings = {
    nodeVersion: process.version,
    platform: `${process.platform} ${process.arch}`,
    machine: await probeMachine().catch((error: Error) => error),
    nvccVersion: await findNvcc(terminal.env),
  }
  for (const line of doctorLines(findings, request)) terminal.out.write(`${line}\n`)
  return isFit(findings, request) ? 0 : 1
}

/** Where a build looks for it, in that order. */
async function findNvcc(env: Terminal['env']): Promise<string | undefined> {
  for (const program of [env.CUDACXX, 'nvcc', '/usr/local/cuda/bin/nvcc']) {
    if (!program) continue
    try {
      const { stdout } = await promisify(execFile)(program, ['--version'])
      return `${/release ([\d.]+)/.exec(stdout)?.[1] ?? 'of unknown version'} at ${program}`
    } catch {
      // Not there: the next place.
    }
  }
  return undefined
}
