import t from 'tap'
import { z } from 'zod'
import { ApiError } from '../../../server/errors.js'
import { ignored, refused, supported } from '../../../server/schemas/field.js'
import { readBody, type UnknownParams } from '../../../server/schemas/read-body.js'

const fields = new Map(
  Object.entries({
    size: supported('A number.'),
    items: supported('A list.', 2),
    'items[].name': supported('A name.'),
    'items[].hint': ignored('Nothing.'),
    'items[].magic': refused('No magic.', false),
    note: ignored('Nothing.'),
    n: refused('One only.', 1),
    format: refused('Text only.', { type: 'text' }),
    never: refused('Cannot be had.'),
  }),
)
const schema = z.object({
  size: z.number().optional(),
  items: z.array(z.object({ name: z.string().optional() })).optional(),
})
const read = (value: unknown, policy: UnknownParams = 'warn') =>
  readBody(schema, fields, value, policy)

function errorOf(run: () => unknown): { code: string; param: string | null; message: string } {
  try {
    run()
  } catch (error) {
    if (error instanceof ApiError) return error
    throw error
  }
  throw new Error('nothing was refused')
}

t.test('supported fields stay, ignored and neutral ones go', async (t) => {
  const { body, unknownParams } = read({
    size: 3,
    items: [{ name: 'a', hint: {}, magic: false }],
    note: [1],
    n: 1,
    format: { type: 'text' },
  })
  t.strictSame(body, { size: 3, items: [{ name: 'a' }] })
  t.strictSame(unknownParams, [])
})

t.test('null is not given, at any depth', async (t) => {
  const { body } = read({ size: null, n: null, never: null, what: null, items: [{ name: null }] })
  t.strictSame(body, { items: [{}] })
})

t.test('what is refused names the field and the way out', async (t) => {
  t.match(
    errorOf(() => read({ n: 2 })),
    {
      code: 'unsupported_parameter',
      param: 'n',
      message: "Unsupported parameter: 'n'. One only. Leave it out, or set it to 1.",
    },
  )
  t.match(
    errorOf(() => read({ format: { type: 'text', more: 1 } })),
    {
      param: 'format',
      message: /set it to \{"type":"text"\}/,
    },
  )
  t.match(
    errorOf(() => read({ never: 0 })),
    { param: 'never', message: /Leave it out\.$/ },
  )
  t.match(
    errorOf(() => read({ items: [{}, { magic: true }] })),
    { param: 'items[1].magic' },
  )
})

t.test('unknown keys by policy', async (t) => {
  const value = { odd: 1, items: [{ odd: 1 }, { odd: 2 }], size: 1 }
  t.strictSame(read(value).unknownParams, ['odd', 'items[].odd'])
  t.strictSame(read(value).body, { size: 1, items: [{}, {}] })
  t.strictSame(read(value, 'ignore').unknownParams, [])
  t.match(
    errorOf(() => read({ items: [{}, { odd: 1 }] }, 'reject')),
    {
      code: 'unknown_parameter',
      param: 'items[1].odd',
    },
  )
  const many = Object.fromEntries(Array.from({ length: 256 }, (_, i) => [`k${i}`, i]))
  t.equal(read(many).unknownParams.length, 16, 'the list is bounded')
})

t.test('keys of Object.prototype are unknown keys like others', async (t) => {
  t.strictSame(read({ constructor: 1, toString: 2 }).unknownParams, ['constructor', 'toString'])
})

t.test('a list that is too long is refused before its entries are looked at', async (t) => {
  const items = Array(3).fill({ magic: true })
  t.match(
    errorOf(() => read({ items })),
    { code: 'invalid_value', param: 'items', message: /at most 2/ },
  )
})

t.test('an object with more keys than anyone has use for', async (t) => {
  const many = Object.fromEntries(Array.from({ length: 257 }, (_, i) => [`k${i}`, i]))
  t.match(
    errorOf(() => read(many)),
    { code: 'invalid_value', param: null, message: /has 257 keys/ },
  )
  t.match(
    errorOf(() => read({ items: [many] }, 'ignore')),
    { param: 'items[0]' },
  )
})

t.test('a body is an object', async (t) => {
  for (const value of [undefined, null, [], 'x', 5, true]) {
    t.match(
      errorOf(() => read(value)),
      { code: 'invalid_type', param: null },
    )
  }
})
