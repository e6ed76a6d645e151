import fc from 'fast-check'
import t from 'tap'
import { ModelFileError } from '../../../engine/model/model-description.js'
import { isJsonObject, parseJsonObject } from '../../../engine/model/strict-json.js'

const parse = (text: string) => parseJsonObject(Buffer.from(text), 'file', 'field')

t.test('agrees with JSON.parse on objects without equal keys', async (t) => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 5 })), (value) => {
      const text = JSON.stringify(value)
      t.same(parse(text), JSON.parse(text))
    }),
  )
})

t.test('equal keys are refused in any object, in any spelling', async (t) => {
  for (const text of [
    '{"a":1,"a":2}',
    '{"a":1, "\\u0061" : 2}',
    '{"x":{"b":[{"c":1,"c":1}]}}',
    '{"__proto__":1,"__proto__":2}',
    '{"a\\"":1,"a\\"":2}',
  ]) {
    t.throws(() => parse(text), /twice/, text)
  }
  t.doesNotThrow(() => parse('{"a":{"a":1},"b":["a","a"],"c":"a\\\\","d":"\\"c\\":"}'))
})

t.test('depth has a limit, and the text before it costs nothing', async (t) => {
  t.doesNotThrow(() => parse(`{"a":${'['.repeat(63)}${']'.repeat(63)}}`))
  t.throws(() => parse(`{"a":${'['.repeat(64)}${']'.repeat(64)}}`), /deeper than 64/)
  t.throws(() => parse(`{"a":${'['.repeat(1_000_000)}`), /deeper than 64/)
})

t.test('what is no object, no JSON or no UTF-8 is refused', async (t) => {
  for (const text of ['[]', 'null', '1', '"x"']) t.throws(() => parse(text), /not a JSON object/)
  for (const text of ['', '{', '{"a":1', '{"a"}', '{"a":1}}', '{"a":NaN}']) {
    t.throws(() => parse(text), /not valid JSON/, text)
  }
  const bytes = Buffer.from([0x7b, 0xff, 0x7d])
  t.throws(() => parseJsonObject(bytes, 'file', 'field'), /not valid UTF-8/)
  t.equal(isJsonObject([]), false)
  t.equal(isJsonObject(null), false)
})

t.test('any bytes give an object or a ModelFileError', async () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'{}[]":,\\a1 ') }), (text) => {
      try {
        parse(text)
      } catch (error) {
        if (!(error instanceof ModelFileError)) throw error
      }
    }),
    { numRuns: 2000 },
  )
})
