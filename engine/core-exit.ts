/** How the core process ends by itself. Above the codes that Node uses. */
export const coreExitCode = {
  /** The front closed the pipe. */
  ended: 0,
  /** Files, memory or arguments: another start would end the same way. */
  startFailed: 20,
  /** The front sent something that is no frame. */
  badFrame: 21,
  /** A step rejected, or an invariant of the loop broke. */
  stepFailed: 22,
  /** An exception that nobody caught. */
  crashed: 23,
} as const

const meanings: Readonly<Record<number, string>> = {
  [coreExitCode.ended]: 'it ended by itself',
  [coreExitCode.startFailed]: 'it could not start',
  [coreExitCode.badFrame]: 'it received a malformed frame',
  [coreExitCode.stepFailed]: 'a step failed',
  [coreExitCode.crashed]: 'it met an exception that nobody caught',
}

/** A clause for log lines and error messages. */
export function describeCoreExit(code: number | null, signal: string | null): string {
  if (signal !== null) return `it was ended by ${signal}`
  const meaning = meanings[code ?? -1]
  return meaning === undefined ? `it exited with code ${code}` : `${meaning} (code ${code})`
}
