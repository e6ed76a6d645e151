import type { FetchProgress } from './fetch-settings.js'

/** The part of a stream that the bar needs: process.stderr, or a test's. */
export interface BarOutput {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

const REDRAW_MS = 100
/** Without a terminal: one line per file and step of this size, not hundreds. */
const LINE_STEP_PERCENT = 10
/** The rate is the mean of about this long. */
const RATE_WINDOW_MS = 3_000
const BAR_CELLS = 24
const DEFAULT_COLUMNS = 80

/** Shows transfers: one line that redraws itself on a terminal, plain lines elsewhere. */
export class ProgressBar {
  readonly #output: BarOutput
  readonly #now: () => number
  #file = ''
  #shownAt = Number.NEGATIVE_INFINITY
  #shownPercent = -1
  #samples: { time: number; numBytesDone: number }[] = []
  #isOpen = false

  constructor(output: BarOutput, now: () => number = Date.now) {
    this.#output = output
    this.#now = now
  }

  /** To be handed on as `onProgress`. */
  readonly update = (progress: FetchProgress): void => {
    const time = this.#now()
    if (progress.file !== this.#file) this.#startFile(progress.file)
    this.#samples.push({ time, numBytesDone: progress.numBytesDone })
    while (time - this.#samples[0]!.time > RATE_WINDOW_MS) this.#samples.shift()
    const isDone = progress.numBytesDone >= progress.numBytes
    if (this.#output.isTTY) this.#draw(progress, time, isDone)
    else this.#printLine(progress, isDone)
  }

  /** Ends an open line, before other output or an error. */
  readonly finish = (): void => {
    if (this.#isOpen) this.#output.write('\n')
    this.#isOpen = false
    this.#file = ''
  }

  #startFile(file: string): void {
    this.finish()
    this.#file = file
    this.#samples = []
    this.#shownAt = Number.NEGATIVE_INFINITY
    this.#shownPercent = -1
  }

  #draw(progress: FetchProgress, time: number, isDone: boolean): void {
    if (!isDone && time - this.#shownAt < REDRAW_MS) return
    if (isDone && this.#shownPercent === 100) return
    this.#shownAt = time
    this.#shownPercent = percentOf(progress)
    const numCells = Math.floor((this.#shownPercent * BAR_CELLS) / 100)
    const bar = '#'.repeat(numCells) + '.'.repeat(BAR_CELLS - numCells)
    const line = `[${bar}] ${this.#describe(progress)}`
    const columns = this.#output.columns ?? DEFAULT_COLUMNS
    // Shorter than the terminal, or the next redraw would start a line below.
    this.#output.write(`\r\x1b[K${line.slice(0, Math.max(1, columns - 1))}`)
    this.#isOpen = true
    if (isDone) {
      this.#output.write('\n')
      this.#isOpen = false
    }
  }

  #printLine(progress: FetchProgress, isDone: boolean): void {
    const percent = percentOf(progress)
    const isDue = this.#shownPercent < 0 || percent - this.#shownPercent >= LINE_STEP_PERCENT
    if (!isDue && !(isDone && this.#shownPercent < 100)) return
    this.#shownPercent = percent
    this.#output.write(`${this.#describe(progress)}\n`)
  }

  #describe(progress: FetchProgress): string {
    const { file, numBytesDone, numBytes } = progress
    const percent = `${percentOf(progress)}%`.padStart(4)
    const rate = this.#bytesPerSecond()
    const left = rate > 0 ? Math.ceil((numBytes - numBytesDone) / rate) : undefined
    const pace = rate > 0 ? `, ${formatBytes(rate)}/s` : ''
    const eta = left !== undefined && left > 0 ? `, ${formatSeconds(left)} left` : ''
    return `${percent} ${file} ${formatBytes(numBytesDone)} of ${formatBytes(numBytes)}${pace}${eta}`
  }

  #bytesPerSecond(): number {
    const [first, last] = [this.#samples[0]!, this.#samples.at(-1)!]
    const seconds = (last.time - first.time) / 1000
    return seconds > 0 ? Math.max(0, (last.numBytesDone - first.numBytesDone) / seconds) : 0
  }
}

/** 98362432 as "98.4 MB". */
export function formatBytes(numBytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = numBytes
  let unit = 0
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 ? Math.round(value) : value.toPrecision(3)} ${units[unit]}`
}

function percentOf({ numBytesDone, numBytes }: FetchProgress): number {
  return numBytes > 0 ? Math.floor((100 * numBytesDone) / numBytes) : 100
}

function formatSeconds(seconds: number): string {
  if (seconds < 60) return `${seconds} s`
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
}
