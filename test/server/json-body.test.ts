import t from 'tap'
import { maxJsonContainers, maxJsonDepth, parseJsonBody } from '../../server/json-body.js'

const parse = (text: string) => parseJsonBody(Buffer.from(text))

t.test('JSON is read as it is', async (t) => {
  for (const text of [
    '{}',
    '[]',
    '5',
    '"x"',
    'null',
    ' {"a": [1, 2.5, "\\u00e9"]} ',
    '{"a":"[[["}',
  ]) {
    t.strictSame(parse(text), JSON.parse(text), text)
  }
  t.strictSame(parse('\ufeff{"a":1}'), { a: 1 }, 'a byte order mark is no fault')
  t.strictSame(parse('{"a":1,"a":2}'), { a: 2 }, 'the last of two equal keys counts')
  t.strictSame(parse('{"a":"\\"[{"}'), { a: '"[{' }, 'brackets in strings do not count')
  t.strictSame(parse('{"constructor":1}'), { constructor: 1 })
})

const broken: readonly (readonly [string, string | Buffer, RegExp])[] = [
  ['nothing', '', /empty/],
  ['white space', '  \n', /not valid JSON/],
  ['cut short', '{"a":', /not valid JSON: it breaks at/],
  ['a comma too many', '{"a":1,}', /at position 7/],
  ['single quotes', "{'a':1}", /at position 1/],
  ['a comment', '{"a":1}//x', /at position 7/],
  ['NaN', '{"a":NaN}', /not valid JSON/],
  ['two values', '{}{}', /at position 2/],
  ['a raw line break in a string', '{"a":"\n"}', /not valid JSON/],
  ['closing first', ']]]]', /not valid JSON/],
  ['bytes that are not UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), /not valid UTF-8/],
  ['UTF-16', Buffer.from('{"a":1}', 'utf16le'), /not valid/],
  ['__proto__', '{"__proto__":{"x":1}}', /"__proto__" is not allowed/],
  ['__proto__ escaped', '{"\\u005f_proto__":{}}', /"__proto__" is not allowed/],
  ['__proto__ deep down', '{"a":[{"b":{"__proto__":1}}]}', /"__proto__" is not allowed/],
  ['constructor.prototype', '{"constructor":{"prototype":{}}}', /"constructor\.prototype"/],
  ['too deep', '['.repeat(65) + ']'.repeat(65), /deeper than 64/],
  ['too deep, never closed', '{"a":'.repeat(100_000), /deeper than 64/],
  ['too many objects', `[${'{},'.repeat(maxJsonContainers)}{}]`, /more than 32768 objects/],
]

for (const [name, text, message] of broken) {
  t.test(name, async (t) => {
    t.throws(() => parseJsonBody(Buffer.from(text)), { code: 'invalid_json', message, param: null })
  })
}

t.test('the deepest that is allowed', async (t) => {
  const text = '['.repeat(maxJsonDepth) + ']'.repeat(maxJsonDepth)
  t.strictSame(parse(text), JSON.parse(text))
  t.equal(({} as Record<string, unknown>).x, undefined, 'no prototype was touched')
})
