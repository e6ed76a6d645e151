import { fileURLToPath } from 'node:url'

/** The compiled script of the stub core. Importing it would run it. */
export const stubCorePath = fileURLToPath(new URL('stub-core.js', import.meta.url))

export const vocabSize = 512
export const maxContextLen = 1024

/** What a prompt that begins with this token does to the core. */
export const poisons = {
  exit: 500,
  segfault: 501,
  garbage: 502,
  halfFrame: 503,
  busyLoop: 504,
  stop: 505,
  stall: 506,
  closePipe: 507,
  /** Ends the first core that sees it and is harmless to the second. */
  exitOnce: 508,
} as const
