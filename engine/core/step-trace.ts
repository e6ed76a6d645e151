import { appendFile, openSync, writeSync } from 'node:fs'
import process from 'node:process'

/** Where the events go; `append` calls back when the disk has them. */
export interface TraceFile {
  append(text: string, done: (error: Error | null) => void): void
  /** At the end of the process, when nobody is held up any more. */
  appendNow(text: string): void
}

/** What a trace tells of a step; `scheduler/step-plan.ts` has more. */
export interface TracedStep {
  readonly stepNumber: number
  readonly numDecodes: number
  readonly numTokens: number
  readonly numBlockCopies: number
  readonly rows: { readonly length: number }
  readonly admitted: { readonly length: number }
}

const flushMs = 100
const maxWriteLen = 64 * 1024
/** Events beyond this are dropped until the disk has caught up. */
const maxPendingLen = 4 * 1024 * 1024

/** Rows of the picture. */
const track = { loop: 1, device: 2 } as const

/**
 * Writes what the core does as Chrome trace events, one object a line behind the opening that the
 * front wrote (engine/trace-file.ts). The step loop never waits for the disk: events are kept in
 * memory, within a bound, while a write is under way, and dropped and counted beyond it.
 *
 * Times are of `performance.now()`, in milliseconds.
 */
export class StepTrace {
  readonly #file: TraceFile
  /** Requests whose span is open: in the queue, or running. */
  readonly #spans = new Map<number, 'queue' | 'run'>()
  #pending: string[] = []
  #pendingLen = 0
  #numDropped = 0
  #isWriting = false
  #hasFailed = false
  #timer: NodeJS.Timeout | undefined

  constructor(file: TraceFile) {
    this.#file = file
    this.#add(`"ph":"M","name":"process_name","args":{"name":"kvasir core"}`)
    this.#add(`"ph":"M","name":"thread_name","tid":${track.loop},"args":{"name":"step loop"}`)
    this.#add(`"ph":"M","name":"thread_name","tid":${track.device},"args":{"name":"device"}`)
  }

  /** Appends to the file at `path`; throws if it cannot be written. */
  static open(path: string): StepTrace {
    const fd = openSync(path, 'a')
    return new StepTrace({
      append: (text, done) => appendFile(fd, text, done),
      appendNow: (text) => writeSync(fd, text),
    })
  }

  /** A sequence is in line from now on. */
  queued(id: number, nowMs: number): void {
    this.#beginSpan('queue', id, nowMs)
  }

  /** A sequence is admitted; a second time, after a preemption, changes nothing. */
  admitted(id: number, numPromptTokens: number, numCachedTokens: number, nowMs: number): void {
    if (this.#spans.get(id) !== 'queue') return
    this.#endSpan(
      id,
      nowMs,
      `{"promptTokens":${numPromptTokens},"cachedTokens":${numCachedTokens}}`,
    )
    this.#beginSpan('run', id, nowMs)
  }

  /** A sequence has ended, wherever it was; `reason` is a plain word. */
  ended(id: number, reason: string, nowMs: number): void {
    if (this.#spans.has(id)) this.#endSpan(id, nowMs, `{"end":"${reason}"}`)
  }

  /** A step was planned from `planMs`, packed from `packMs` on and handed over at `startMs`. */
  started(step: TracedStep, planMs: number, packMs: number, startMs: number): void {
    const args = describe(step)
    this.#addSpan('plan', track.loop, planMs, packMs, args)
    this.#addSpan('pack', track.loop, packMs, startMs, args)
  }

  /** The device worked on a step from `startMs` to `doneMs`; then came commit and send. */
  finished(
    step: TracedStep,
    startMs: number,
    doneMs: number,
    commitMs: number,
    sentMs: number,
  ): void {
    const args = describe(step)
    this.#addSpan('device', track.device, startMs, doneMs, args)
    this.#addSpan('commit', track.loop, doneMs, commitMs, args)
    this.#addSpan('send', track.loop, commitMs, sentMs, args)
  }

  /** Writes what is left, and waits for it: the process ends. */
  close(): void {
    clearTimeout(this.#timer)
    const text = this.#takePending()
    this.#hasFailed = true
    try {
      if (text !== '') this.#file.appendNow(text)
    } catch {
      // Whatever the reason: there is nobody left to tell.
    }
  }

  #beginSpan(name: 'queue' | 'run', id: number, nowMs: number): void {
    this.#spans.set(id, name)
    this.#add(`"ph":"b","cat":"request","name":"${name}","id":${id},"ts":${toMicros(nowMs)}`)
  }

  #endSpan(id: number, nowMs: number, args: string): void {
    const name = this.#spans.get(id)
    this.#spans.delete(id)
    const ts = toMicros(nowMs)
    this.#add(`"ph":"e","cat":"request","name":"${name}","id":${id},"ts":${ts},"args":${args}`)
  }

  #addSpan(name: string, tid: number, startMs: number, endMs: number, args: string): void {
    const dur = ((endMs - startMs) * 1000).toFixed(1)
    const ts = toMicros(startMs)
    this.#add(`"ph":"X","name":"${name}","tid":${tid},"ts":${ts},"dur":${dur},"args":${args}`)
  }

  #add(fields: string): void {
    if (this.#hasFailed) return
    const event = `,\n{"pid":${process.pid},${fields}}`
    if (this.#pendingLen + event.length > maxPendingLen) {
      this.#numDropped++
      return
    }
    if (this.#numDropped > 0) this.#tellDropped()
    this.#pending.push(event)
    this.#pendingLen += event.length
    if (this.#isWriting) return
    if (this.#pendingLen >= maxWriteLen) this.#write()
    else this.#timer ??= setTimeout(() => this.#write(), flushMs).unref()
  }

  #tellDropped(): void {
    const args = `{"count":${this.#numDropped}}`
    this.#numDropped = 0
    const ts = toMicros(performance.now())
    this.#add(
      `"ph":"i","s":"g","name":"events dropped","tid":${track.loop},"ts":${ts},"args":${args}`,
    )
  }

  #write(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const text = this.#takePending()
    if (text === '') return
    this.#isWriting = true
    this.#file.append(text, (error) => {
      this.#isWriting = false
      if (error === null) this.#write()
      else this.#giveUp(error)
    })
  }

  #takePending(): string {
    const text = this.#pending.join('')
    this.#pending = []
    this.#pendingLen = 0
    return text
  }

  /** A full disk is no reason to stop serving. */
  #giveUp(error: Error): void {
    this.#hasFailed = true
    this.#takePending()
    process.stderr.write(`The trace ends here: ${error.message}.\n`)
  }
}

function describe(step: TracedStep): string {
  const { stepNumber, numDecodes, numTokens, numBlockCopies, rows, admitted } = step
  return (
    `{"step":${stepNumber},"sequences":${rows.length},"decodes":${numDecodes},` +
    `"promptTokens":${numTokens - numDecodes},"admitted":${admitted.length},` +
    `"blockCopies":${numBlockCopies}}`
  )
}

/** On a clock that the core before this one had, too. */
function toMicros(ms: number): string {
  return ((performance.timeOrigin + ms) * 1000).toFixed(0)
}
