import t from 'tap'
import {
  addLogitBiases,
  banEarlyStops,
  logitsProcessors,
} from '../../../engine/core/logits-processors.js'
import { makeSubmission } from '../support/submissions.js'

const submission = makeSubmission({
  minTokens: 4,
  stopTokenIds: Int32Array.of(1, 2),
  biasTokenIds: Int32Array.of(9),
  biasValues: Float32Array.of(-3),
})

t.test('biases are always added, behind what is there', (t) => {
  const sink = makeSink(1)
  addLogitBiases(submission, 100, sink)
  t.equal(sink.length, 2)
  t.equal(sink.tokenIds[1], 9)
  t.equal(sink.values[1], -3)
  t.end()
})

t.test(
  'stop tokens are banned until there are enough tokens, also when they would not stop',
  (t) => {
    for (const ignoreEos of [false, true]) {
      const sink = makeSink(0)
      banEarlyStops({ ...submission, ignoreEos }, 3, sink)
      t.same(Array.from(sink.tokenIds.subarray(0, sink.length)), [1, 2])
      t.same(Array.from(sink.values.subarray(0, sink.length)), [-Infinity, -Infinity])
    }
    const sink = makeSink(0)
    banEarlyStops(submission, 4, sink)
    t.equal(sink.length, 0)
    t.end()
  },
)

t.test('both run in every step', (t) => {
  t.same(logitsProcessors, [addLogitBiases, banEarlyStops])
  t.end()
})

function makeSink(length: number) {
  return { tokenIds: new Int32Array(8), values: new Float32Array(8), length }
}
