import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { StepLoop } from '../../../engine/core/step-loop.js'
import { StepTrace } from '../../../engine/core/step-trace.js'
import { frameHeaderBytes } from '../../../engine/frame-layout.js'
import { decodeFromCore, type FromCore, stepFinish } from '../../../engine/frames-from-core.js'
import { Scheduler } from '../../../scheduler/scheduler.js'
import { FakeModel, type FakeModelOptions, fakeAnswer } from '../support/fake-model.js'
import { makeSubmission } from '../support/submissions.js'

const vocabSize = 97

t.test(
  'a crowd with chunked prompts, preemption and shared prefixes answers like one alone',
  async (t) => {
    // 24 blocks of 4 tokens for ten sequences of up to 40: preemption is certain.
    const core = startLoop({ numBlocks: 24 })
    const expected = new Map<number, number[]>()
    const plain = makeSubmission({}).sampling
    for (let id = 1; id <= 10; id++) {
      // Only every second sequence has a penalty, and with it a need for token counts.
      const sampling = { ...plain, presencePenalty: (id % 2) / 2 }
      const prompt = Array.from({ length: 3 + 2 * id }, (_, i) =>
        i < 8 ? i : (i * id) % vocabSize,
      )
      expected.set(id, fakeAnswer(prompt, 20, vocabSize, id % 2))
      core.loop.receive({
        kind: 'submit',
        submission: makeSubmission({
          id,
          sampling,
          promptTokenIds: Int32Array.from(prompt),
          maxTokens: 20,
          seedLow: id % 2,
        }),
      })
    }
    await core.until(() => core.finished.size === 10)
    for (const [id, tokenIds] of expected) t.same(core.tokens.get(id), tokenIds, `sequence ${id}`)
    t.ok([...core.finished.values()].every((finish) => finish === stepFinish.length))
    t.ok((await core.inspect()).numPreemptions > 0, 'the pool was too small on purpose')
    t.ok(core.steps.every((step, i) => step.stepNumber === i + 1))
    const refilled = core.model.filledSlots.filter(
      ({ tokenIds, numPromptTokens }) => tokenIds.length > numPromptTokens,
    )
    t.ok(refilled.length > 0, 'after a preemption the slot is filled with the output, too')
    const idsWithCounts = core.model.filledSlots.map((fill) => (fill.numPromptTokens - 3) / 2)
    t.same([...new Set(idsWithCounts)].sort(), [1, 3, 5, 7, 9], 'counts are for penalties alone')
  },
)

t.test('a stop token ends a sequence and is reported with it', async (t) => {
  const core = startLoop()
  const [first, second] = fakeAnswer([5, 6, 7], 2, vocabSize)
  const stopTokenIds = Int32Array.of(second!)
  core.submit({ stopTokenIds })
  await core.until(() => core.finished.has(1))
  t.same(core.tokens.get(1), [first, second])
  t.equal(core.finished.get(1), stepFinish.stop)

  core.submit({ id: 2, stopTokenIds, ignoreEos: true })
  core.submit({ id: 3, stopTokenIds, minTokens: 5 })
  await core.until(() => core.finished.size === 3)
  t.same(core.tokens.get(2), fakeAnswer([5, 6, 7], 8, vocabSize))
  t.notOk(core.tokens.get(3)!.slice(0, 5).includes(second!), 'banned until there are five')
})

t.test('an abort in the middle of a step gives everything back one step later', async (t) => {
  const core = startLoop({ stepMs: 5 })
  core.submit({ maxTokens: 60 })
  core.submit({ id: 2, maxTokens: 60, promptTokenIds: Int32Array.of(9) })
  await core.until(() => (core.tokens.get(2)?.length ?? 0) >= 2)
  t.equal(core.loop.isStepInFlight, true)
  core.loop.receive({ kind: 'abort', id: 1 })
  core.loop.receive({ kind: 'abort', id: 1 })
  core.loop.receive({ kind: 'abort', id: 77 })
  const state = await core.inspect()
  t.equal(state.numRunning, 1)
  const numTokens = core.tokens.get(1)!.length
  core.loop.receive({ kind: 'abort', id: 2 })
  t.match(await core.inspect(), { numRunning: 0, numWaiting: 0, numUsedBlocks: 0 })
  t.equal(core.tokens.get(1)!.length, numTokens, 'no token came after the abort')
  core.submit({ id: 1, maxTokens: 1 })
  await core.until(() => core.finished.has(1))
})

t.test('a submission that must not reach native code is refused, alone', async (t) => {
  const core = startLoop()
  core.submit({ id: 1, promptTokenIds: Int32Array.of(vocabSize) })
  core.submit({ id: 2 })
  core.submit({ id: 2 })
  await core.until(() => core.finished.has(2))
  t.match(core.refused.get(1), /Token 97/)
  t.match(core.refused.get(2), /lives already/)
  t.equal(core.tokens.get(2)!.length, 8)
})

t.test('a sequence without usable logits fails alone', async (t) => {
  const core = startLoop({
    onResults: (views, numSequences) => {
      for (let row = 0; row < numSequences; row++) {
        if (views.seedsLow[row] === 13) views.sampledTokenIds[row] = -1
      }
    },
  })
  core.submit({ id: 1, seedLow: 13 })
  core.submit({ id: 2, promptTokenIds: Int32Array.of(1) })
  await core.until(() => core.finished.size === 2)
  t.equal(core.finished.get(1), stepFinish.failed)
  t.equal(core.finished.get(2), stepFinish.length)
})

t.test('a step that rejects, or samples a token that does not exist, ends the loop', async (t) => {
  const rejecting = startLoop({
    onStep: () => {
      throw new Error('the device is gone')
    },
  })
  rejecting.submit()
  await t.rejects(rejecting.ended, /the device is gone/)
  t.equal(rejecting.loop.isStepInFlight, false)

  const absurd = startLoop({ onResults: (views) => views.sampledTokenIds.fill(vocabSize) })
  absurd.submit()
  await t.rejects(absurd.ended, /sampled token 97/)
})

t.test('an idle core is silent, a long step is not', async (t) => {
  let release: (() => void) | undefined
  const core = startLoop({
    onStep: () =>
      new Promise<void>((resolve) => {
        release = resolve
      }),
  })
  await sleep(600)
  t.equal(core.heartbeats.length, 0)
  core.submit()
  await core.until(() => core.heartbeats.length > 0)
  t.same(core.heartbeats[0], { numSteps: 0, numTokensInStep: 3 })
  core.loop.receive({ kind: 'abort', id: 1 })
  release?.()
  t.match(await core.inspect(), { numRunning: 0 })
})

t.test('an idle core checks its books', async (t) => {
  const core = startLoop()
  core.submit({ maxTokens: 1 })
  await core.until(() => core.finished.has(1))
  core.scheduler.checkIntegrity = () => {
    throw new Error('a block is lost')
  }
  await t.rejects(core.ended, /a block is lost/)
})

t.test('choices: sequences of their own over one prompt, each ended alone', async (t) => {
  const core = startLoop({ trace: true })
  const prompt = [1, 2, 3, 4, 5, 6]
  core.submit({ id: 5, numChoices: 3, promptTokenIds: Int32Array.from(prompt), maxTokens: 30 })
  core.submit({ id: 7 })
  await core.until(() => (core.tokens.get(7)?.length ?? 0) >= 2)
  t.match(core.refused.get(7), /lives already/, 'an id of a choice is taken')
  core.loop.receive({ kind: 'abort', id: 6 })
  await core.until(() => core.finished.size === 2)
  const expected = fakeAnswer(prompt, 30, vocabSize)
  t.same(core.tokens.get(5), expected)
  t.same(core.tokens.get(7), expected)
  t.ok((core.tokens.get(6)?.length ?? 0) < 30)
  t.equal(core.tracedPromptTokens(), 6 + 2, 'the prompt once, its last token once a choice')
})

t.test('who waits too long to begin hears of it', async (t) => {
  const core = startLoop({ stepMs: 5, maxQueueMs: 20, numBlocks: 16 })
  // It needs every block there is, so that nobody else begins.
  core.submit({ id: 1, promptTokenIds: new Int32Array(40).fill(3), maxTokens: 24 })
  await core.until(() => core.tokens.has(1))
  core.submit({ id: 2, numChoices: 2, promptTokenIds: new Int32Array(40).fill(4) })
  await core.until(() => core.finished.has(3))
  t.equal(core.finished.get(2), stepFinish.queue_timeout)
  t.equal(core.finished.get(3), stepFinish.queue_timeout)
  await core.until(() => core.finished.has(1))
  t.equal(core.tokens.get(1)!.length, 24)
  t.match(await core.inspect(), { numQueueTimeouts: 2, numWaiting: 0 })
})

t.test('the state tells of the last step and of who is there', async (t) => {
  const core = startLoop({ stepMs: 2 })
  t.match(await core.inspect(), { lastStep: { stepNumber: 0, commitMs: 0 }, tenants: [] })
  core.submit({ id: 1, tenant: 7, maxTokens: 50 })
  core.submit({ id: 2, tenant: 9, maxTokens: 50, promptTokenIds: Int32Array.of(4) })
  await core.until(() => core.tokens.has(2))
  const { lastStep, tenants, numTenants } = await core.inspect()
  t.match(lastStep, { numDecodes: 2, numPromptTokens: 0 })
  const { stepNumber, durationMs, planMs, packMs, commitMs } = lastStep
  t.ok(stepNumber > 0 && durationMs > 1 && planMs > 0 && packMs > 0 && commitMs > 0)
  t.equal(numTenants, 2)
  t.match(tenants, [
    { tenant: 7, numRunning: 1, numWaiting: 0 },
    { tenant: 9, numRunning: 1, numWaiting: 0 },
  ])
})

interface StartLoopOptions extends Pick<FakeModelOptions, 'stepMs' | 'onStep' | 'onResults'> {
  readonly numBlocks?: number
  readonly maxQueueMs?: number
  readonly trace?: boolean
}

/** A loop over the fake model, and everything it sent. */
function startLoop(options: StartLoopOptions = {}) {
  const shape = { blockSize: 4, maxBlocksPerSequence: 16 }
  const limits = { maxTokensPerStep: 16, maxSequences: 8, numBlocks: options.numBlocks ?? 64 }
  const model = new FakeModel({ ...shape, ...limits, ...options, vocabSize })
  const scheduler = new Scheduler({
    ...limits,
    blockSize: 4,
    maxContextLen: 64,
    hashSeed: 1,
    ...(options.maxQueueMs !== undefined && { maxQueueMs: options.maxQueueMs }),
  })
  let traced = ''
  const append = (text: string, done?: (error: null) => void) => {
    traced += text
    done?.(null)
  }
  const trace = options.trace ? new StepTrace({ append, appendNow: append }) : undefined
  const sent = {
    tokens: new Map<number, number[]>(),
    finished: new Map<number, number>(),
    refused: new Map<number, string>(),
    steps: [] as (FromCore & { kind: 'step' })['step'][],
    heartbeats: [] as (FromCore & { kind: 'heartbeat' })['heartbeat'][],
    states: [] as (FromCore & { kind: 'state' })[],
  }
  const send = (frame: Buffer) => {
    const message = decodeFromCore(frame.readUInt8(4), frame.subarray(frameHeaderBytes))
    if (message.kind === 'step') recordStep(sent, message.step)
    else if (message.kind === 'refused') sent.refused.set(message.id, message.message)
    else if (message.kind === 'state') sent.states.push(message)
    else if (message.kind === 'heartbeat') sent.heartbeats.push(message.heartbeat)
  }
  const loop = new StepLoop({
    model,
    scheduler,
    shape,
    limits: { vocabSize, maxContextLen: 64, maxSequences: scheduler.limits.maxSequences },
    numStepsBefore: 0,
    send,
    trace,
  })
  const ended = loop.run()
  ended.catch(() => {})
  const submit = (change = {}) =>
    loop.receive({ kind: 'submit', submission: makeSubmission(change) })
  const until = async (isTrue: () => boolean) => {
    const deadline = Date.now() + 5000
    while (!isTrue()) {
      if (Date.now() > deadline) throw new Error('it did not happen within five seconds')
      await sleep(1)
    }
  }
  const inspect = async () => {
    const numBefore = sent.states.length
    loop.receive({ kind: 'inspect', id: 99 })
    await until(() => sent.states.length > numBefore)
    return sent.states.at(-1)!.state
  }
  const tracedPromptTokens = () => {
    trace?.close()
    const steps = traced.matchAll(/"name":"device".*"promptTokens":(\d+)/g)
    return Array.from(steps, ([, count]) => Number(count)).reduce((sum, count) => sum + count, 0)
  }
  return { ...sent, loop, model, scheduler, ended, submit, until, inspect, tracedPromptTokens }
}

function recordStep(
  sent: {
    tokens: Map<number, number[]>
    finished: Map<number, number>
    steps: object[]
  },
  step: (FromCore & { kind: 'step' })['step'],
): void {
  sent.steps.push(step)
  for (const [i, id] of step.ids.entries()) {
    const tokens = sent.tokens.get(id) ?? []
    tokens.push(step.tokenIds[i]!)
    sent.tokens.set(id, tokens)
    if (step.finishes[i] !== stepFinish.none) sent.finished.set(id, step.finishes[i]!)
  }
}
