import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { StepTrace, type TraceFile } from '../../../engine/core/step-trace.js'

interface TraceEvent {
  readonly ph: string
  readonly name: string
  readonly ts: number
  readonly dur?: number
  readonly id?: number
  readonly args?: Readonly<Record<string, number | string>>
}

const step = {
  stepNumber: 12,
  numDecodes: 3,
  numTokens: 19,
  numBlockCopies: 1,
  rows: { length: 4 },
  admitted: { length: 1 },
}

/** A disk that finishes a write when it is told to. */
class SlowFile implements TraceFile {
  text = ''
  readonly #pending: ((error: Error | null) => void)[] = []

  get numWriting(): number {
    return this.#pending.length
  }

  append(text: string, done: (error: Error | null) => void): void {
    this.text += text
    this.#pending.push(done)
  }

  appendNow(text: string): void {
    this.text += text
  }

  finishWrite(error: Error | null = null): void {
    this.#pending.shift()?.(error)
  }
}

t.test('a request and a step, as events', async (t) => {
  const file = new SlowFile()
  const trace = new StepTrace(file)
  trace.queued(7, 10)
  trace.admitted(7, 100, 16, 12.5)
  trace.admitted(7, 100, 16, 13)
  trace.started(step, 11, 12.5, 13)
  trace.finished(step, 13, 15.25, 15.5, 15.75)
  trace.ended(7, 'stop', 20)
  trace.ended(7, 'stop', 20)
  trace.ended(8, 'abort', 20)
  trace.close()
  const events = eventsOf(file.text)
  t.strictSame(
    events.map(({ ph, name }) => `${ph} ${name}`),
    [
      'M process_name',
      'M thread_name',
      'M thread_name',
      'b queue',
      'e queue',
      'b run',
      'X plan',
      'X pack',
      'X device',
      'X commit',
      'X send',
      'e run',
    ],
  )
  const composition = {
    step: 12,
    sequences: 4,
    decodes: 3,
    promptTokens: 16,
    admitted: 1,
    blockCopies: 1,
  }
  for (const event of events.slice(6, 11)) t.strictSame(event.args, composition)
  t.strictSame(
    events.slice(6, 11).map(({ dur }) => dur),
    [1500, 500, 2250, 250, 250],
  )
  t.match(events[4], { id: 7, args: { promptTokens: 100, cachedTokens: 16 } })
  t.match(events[11], { id: 7, args: { end: 'stop' } })
  t.equal(events[8]!.ts - events[6]!.ts, 2000, 'microseconds on one clock')
})

t.test('an answer that ends while it waits leaves no span open', async (t) => {
  const file = new SlowFile()
  const trace = new StepTrace(file)
  trace.queued(1, 1)
  trace.ended(1, 'queue_timeout', 5)
  trace.close()
  t.match(eventsOf(file.text).at(-1), { ph: 'e', name: 'queue', args: { end: 'queue_timeout' } })
})

t.test('one write at a time; beyond the bound events are dropped and counted', async (t) => {
  const file = new SlowFile()
  const trace = new StepTrace(file)
  for (let i = 0; i < 100_000; i++) trace.started(step, 1, 2, 3)
  t.equal(file.numWriting, 1, 'the disk has the first piece and says nothing')
  const held = file.text.length
  t.ok(held < 128 * 1024, `${held} characters were handed over`)
  file.finishWrite()
  t.equal(file.numWriting, 1)
  t.ok(file.text.length < 5 * 1024 * 1024, 'what is kept has a bound')
  trace.started(step, 1, 2, 3)
  file.finishWrite()
  trace.close()
  const events = eventsOf(file.text)
  const dropped = events.find(({ name }) => name === 'events dropped')
  const numSteps = events.filter(({ ph }) => ph === 'X').length
  t.equal(numSteps + Number(dropped?.args?.count), 200_002, 'nothing is missing from the count')
})

t.test('a disk that fails ends the trace and nothing else', async (t) => {
  const file = new SlowFile()
  const trace = new StepTrace(file)
  for (let i = 0; i < 1000; i++) trace.started(step, 1, 2, 3)
  const { length } = file.text
  file.finishWrite(new Error('no space left'))
  for (let i = 0; i < 1000; i++) trace.started(step, 1, 2, 3)
  trace.close()
  t.equal(file.text.length, length)

  const broken = new StepTrace({
    append: () => {},
    appendNow: () => {
      throw new Error('no space left')
    },
  })
  broken.close()
})

t.test('a real file gets its events by itself, behind what there is', async (t) => {
  const path = join(mkdtempSync(join(tmpdir(), 'kvasir-')), 'trace.json')
  writeFileSync(path, '[\n{}')
  const trace = StepTrace.open(path)
  trace.queued(1, 1)
  const deadline = Date.now() + 5000
  while (!readFileSync(path, 'utf8').includes('queue')) {
    if (Date.now() > deadline) throw new Error('nothing was written')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  trace.ended(1, 'abort', 2)
  trace.close()
  t.equal(JSON.parse(`${readFileSync(path, 'utf8')}]`).length, 1 + 3 + 2)
  t.throws(() => StepTrace.open('/no/such/folder/x'), { code: 'ENOENT' })
})

/** Valid at every cut between two events: only the bracket is missing. */
function eventsOf(text: string): TraceEvent[] {
  return JSON.parse(`[{}${text}]`).slice(1)
}
