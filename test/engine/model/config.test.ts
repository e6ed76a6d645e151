import t from 'tap'
import {
  CONFIG_RANGES,
  checkConfig,
  checkInteger,
  checkNumber,
  shown,
} from '../../../engine/model/config.js'
import { configFromJson } from '../../../engine/model/config-json.js'
import { ModelFileError } from '../../../engine/model/model-description.js'
import { tinyConfig } from './support/tiny-models.js'

t.test('an integer is an integer within its range, ends included', async (t) => {
  const range = { min: 1, max: 10 }
  t.equal(checkInteger('file', 'field', 1, range), 1)
  t.equal(checkInteger('file', 'field', 10, range), 10)
  for (const value of [0, 11, 1.5, '5', null, undefined, true, Number.NaN, 2 ** 60, [5]]) {
    t.throws(() => checkInteger('file', 'field', value, range), ModelFileError, String(value))
  }
  t.throws(
    () => checkInteger('file', 'field', 11, range),
    'file: field: is 11, allowed are integers from 1 to 10',
  )
})

t.test('a number may have a fraction, but not be infinite', async (t) => {
  t.equal(checkNumber('file', 'field', 0.5, { min: 0, max: 1 }), 0.5)
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, '0.5']) {
    t.throws(() => checkNumber('file', 'field', value, { min: 0, max: 1 }), /allowed are numbers/)
  }
})

t.test('sizes that do not fit each other are refused', async (t) => {
  const config = configFromJson('file', tinyConfig())
  t.equal(checkConfig('file', config), config)
  const cases: [object, RegExp][] = [
    [{ numHeads: 3, numKvHeads: 2 }, /which does not divide the 3 attention heads/],
    [{ hiddenSize: 12 }, /hidden size: is 12, no multiple of 8/],
    [{ intermediateSize: 20 }, /intermediate size: is 20/],
    [{ headDim: 20 }, /head dimension: is 20/],
  ]
  for (const [change, message] of cases) {
    t.throws(() => checkConfig('file', { ...config, ...change }), message)
  }
})

t.test('the largest sizes allowed together stay exact', async (t) => {
  const { vocabSize, hiddenSize, numHeads, headDim, intermediateSize } = CONFIG_RANGES
  t.ok(Number.isSafeInteger(vocabSize.max * hiddenSize.max * 4))
  t.ok(Number.isSafeInteger(numHeads.max * headDim.max * hiddenSize.max * 4))
  t.ok(Number.isSafeInteger(intermediateSize.max * hiddenSize.max * 4))
})

t.test('a message shows any value, shortly', async (t) => {
  t.equal(shown(undefined), 'missing')
  t.equal(shown('x'), '"x"')
  t.equal(shown('x'.repeat(1000)).length, 100)
})
