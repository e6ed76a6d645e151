import { appendFileSync, writeFileSync } from 'node:fs'
import process from 'node:process'

/**
 * Starts a trace over: an array of Chrome trace events, of which this is the first. The core appends
 * the others, and a core that follows it goes on; the array is closed when the engine is. Readers of
 * traces do not insist on that, so what there is can be looked at any time.
 *
 * Throws an Error for the operator.
 */
export function beginTrace(path: string): void {
  const event = { pid: process.pid, ph: 'M', name: 'process_name', args: { name: 'kvasir front' } }
  try {
    writeFileSync(path, `[\n${JSON.stringify(event)}`)
  } catch (error) {
    const reason = (error as Error).message
    throw new Error(`--trace ${path} cannot be written: ${reason}. Name another file.`, {
      cause: error,
    })
  }
}

/** Nobody appends any more. */
export function endTrace(path: string): void {
  try {
    appendFileSync(path, '\n]\n')
  } catch {
    // It was a trace, not an answer.
  }
}
