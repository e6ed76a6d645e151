import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** One event of `kvasir serve --trace`, as far as tests look at it. */
export interface TraceEvent {
  readonly name: string
  readonly ph: string
  readonly id?: number
  readonly ts: number
  readonly args: Readonly<Record<string, number>>
}

export function newTracePath(): string {
  return join(mkdtempSync(join(tmpdir(), 'kvasir-')), 'trace.json')
}

/** Of a server that has ended. */
export function readTrace(path: string): TraceEvent[] {
  return JSON.parse(readFileSync(path, 'utf8')) as TraceEvent[]
}

/** What the device did, step by step: the composition of each. */
export function tracedSteps(events: readonly TraceEvent[]): TraceEvent['args'][] {
  return events.filter(({ name }) => name === 'device').map(({ args }) => args)
}

export function sumOf(steps: readonly TraceEvent['args'][], name: string): number {
  return steps.reduce((sum, step) => sum + step[name]!, 0)
}
