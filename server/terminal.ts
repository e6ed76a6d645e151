import type { BarOutput } from '../engine/model/progress-bar.js'

/** What a command sees of the process: its streams and its environment. */
export interface Terminal {
  readonly out: BarOutput
  readonly err: BarOutput
  readonly env: Readonly<Record<string, string | undefined>>
}
