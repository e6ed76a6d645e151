import t from 'tap'
import type { StepResult } from '../../engine/frames-from-core.js'
import { Watchdog } from '../../engine/watchdog.js'

const limits = {
  maxSilenceMs: 10_000,
  minStepLimitMs: 10_000,
  stepFactor: 20,
  maxLoadSilenceMs: 120_000,
}

t.test('an idle core is healthy, however long it is silent', (t) => {
  const watchdog = makeReady(10)
  t.equal(findHangAfter(watchdog, 0, 3_600_000, { hasWork: false }), undefined)
  // Work that comes after an hour of silence has its whole time.
  t.equal(findHangAfter(watchdog, 3_600_000, 3_609_000, { hasWork: true }), undefined)
  t.end()
})

t.test('silence with work is a hang after ten seconds', (t) => {
  t.equal(findHangAfter(makeReady(10), 0, 9_900, { hasWork: true }), undefined)
  t.match(findHangAfter(makeReady(10), 0, 10_500, { hasWork: true }), /silent for/)
  t.end()
})

t.test('a core that answers but finishes no step hangs as well', (t) => {
  const watchdog = makeReady(10)
  const beat = (nowMs: number) => watchdog.noteHeartbeat({ numSteps: 0, numTokensInStep: 1 }, nowMs)
  t.equal(findHangAfter(watchdog, 0, 9_900, { hasWork: true, beat }), undefined)
  t.match(findHangAfter(watchdog, 9_900, 10_500, { hasWork: true, beat }), /no step/)
  t.end()
})

t.test('steps that are slow by habit get twenty times their 99th percentile', (t) => {
  const watchdog = makeReady(10)
  for (let i = 1; i <= 200; i++) watchdog.noteStep(step(i, 1000), i)
  const beat = (nowMs: number) =>
    watchdog.noteHeartbeat({ numSteps: 200, numTokensInStep: 1 }, nowMs)
  t.equal(findHangAfter(watchdog, 200, 20_000, { hasWork: true, beat }), undefined)
  t.match(findHangAfter(watchdog, 20_000, 20_600, { hasWork: true, beat }), /no step/)
  t.end()
})

t.test('the first long prompt on a slow machine gets what its tokens ask for', (t) => {
  // One token takes 100 ms, so 512 take at most 51 s; twice that is the limit.
  const watchdog = makeReady(100)
  const beat = (nowMs: number) =>
    watchdog.noteHeartbeat({ numSteps: 0, numTokensInStep: 512 }, nowMs)
  t.equal(findHangAfter(watchdog, 0, 100_000, { hasWork: true, beat }), undefined)
  t.match(findHangAfter(watchdog, 100_000, 103_000, { hasWork: true, beat }), /no step/)
  t.end()
})

t.test('loading has its own budget, which progress renews', (t) => {
  const watchdog = new Watchdog(limits, 0)
  t.equal(findHangAfter(watchdog, 0, 119_000, { hasWork: false }), undefined)
  watchdog.noteSign(119_000)
  t.equal(findHangAfter(watchdog, 119_000, 238_000, { hasWork: false }), undefined)
  t.match(findHangAfter(watchdog, 238_000, 240_000, { hasWork: false }), /of loading/)
  t.end()
})

t.test('a front that was asleep itself blames nobody', (t) => {
  const watchdog = makeReady(10)
  t.equal(watchdog.findHang(true, 1000), undefined)
  t.equal(watchdog.findHang(true, 500_000), undefined)
  t.equal(findHangAfter(watchdog, 500_000, 509_000, { hasWork: true }), undefined)
  t.end()
})

function makeReady(warmUpMs: number): Watchdog {
  const watchdog = new Watchdog(limits, 0)
  watchdog.noteReady(warmUpMs, 0)
  return watchdog
}

/** Looks every 250 ms, as the supervisor does; the first hang that is found. */
function findHangAfter(
  watchdog: Watchdog,
  fromMs: number,
  toMs: number,
  options: { readonly hasWork: boolean; readonly beat?: (nowMs: number) => void },
): string | undefined {
  for (let nowMs = fromMs; nowMs <= toMs; nowMs += 250) {
    if (options.beat !== undefined) {
      watchdog.noteSign(nowMs)
      options.beat(nowMs)
    }
    const hang = watchdog.findHang(options.hasWork, nowMs)
    if (hang !== undefined) return hang
  }
  return undefined
}

function step(stepNumber: number, durationMs: number): StepResult {
  return {
    stepNumber,
    durationMs,
    ids: new Float64Array(0),
    tokenIds: new Int32Array(0),
    finishes: new Uint8Array(0),
    numCachedTokens: new Int32Array(0),
  }
}
