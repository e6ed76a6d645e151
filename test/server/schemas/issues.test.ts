import t from 'tap'
import { z } from 'zod'
import { dottedPath, toApiError } from '../../../server/schemas/issues.js'
import { integer } from '../../../server/schemas/shapes.js'

const schema = z.object({
  size: z.number().min(0).max(2).optional(),
  whole: integer(0).optional(),
  name: z.string().min(2).max(4).optional(),
  list: z.array(z.string()).min(1).max(2).optional(),
  kind: z.enum(['a', 'b']).optional(),
  either: z.union([z.string(), z.array(z.number())]).optional(),
  flag: z.boolean().optional(),
  inner: z.object({ must: z.string() }).optional(),
  odd: z.email().optional(),
})

const cases: readonly (readonly [unknown, string, string, RegExp])[] = [
  [{ size: 'x' }, 'invalid_type', 'size', /expected a number, got a string\./],
  [{ size: Number.POSITIVE_INFINITY }, 'invalid_value', 'size', /too large/],
  [{ size: -1 }, 'invalid_value', 'size', /-1 was given; the lowest allowed value is 0\./],
  [{ size: 3 }, 'invalid_value', 'size', /3 was given; the highest allowed value is 2\./],
  [{ whole: 1.5 }, 'invalid_type', 'whole', /expected an integer, got a decimal number\./],
  [{ name: 'x' }, 'invalid_value', 'name', /has 1 characters; at least 2 needed\./],
  [{ name: 'x'.repeat(9) }, 'invalid_value', 'name', /has 9 characters; at most 4 allowed\./],
  [{ list: [] }, 'invalid_value', 'list', /has 0 entries; at least 1 needed\./],
  [{ list: ['a', 'b', 'c'] }, 'invalid_value', 'list', /has 3 entries; at most 2 allowed\./],
  [{ list: ['a', 5] }, 'invalid_type', 'list[1]', /expected a string, got a number\./],
  [{ kind: 'c' }, 'invalid_value', 'kind', /"c" was given; supported values are 'a', 'b'\./],
  [{ kind: 5 }, 'invalid_type', 'kind', /expected a string, got a number\./],
  [{ either: 5 }, 'invalid_type', 'either', /expected a string or an array, got a number\./],
  [{ either: [1, 'x'] }, 'invalid_type', 'either[1]', /expected a number, got a string\./],
  [{ flag: 'true' }, 'invalid_type', 'flag', /expected a boolean, got a string\./],
  [{ inner: {} }, 'missing_required_parameter', 'inner.must', /Missing required parameter/],
  [{ inner: null }, 'invalid_type', 'inner', /expected an object, got null\./],
  [{ odd: 'nobody' }, 'invalid_value', 'odd', /"nobody" was given\./],
]

for (const [body, code, param, message] of cases) {
  t.test(JSON.stringify(body), async (t) => {
    const { error } = schema.safeParse(body)
    t.match(toApiError(error!.issues[0]!, body), { code, param, message })
  })
}

t.test('what the client sent comes back short and harmless', async (t) => {
  const body = { kind: `\u001b[31m\u202e${'x'.repeat(100_000)}` }
  const { message } = toApiError(schema.safeParse(body).error!.issues[0]!, body)
  t.ok(message.length < 200, `${message.length} characters`)
  t.notMatch(message, /\p{Cc}|\p{Cf}/u)
})

t.test('dotted paths', async (t) => {
  t.equal(dottedPath(['messages', 2, 'content', 0, 'text']), 'messages[2].content[0].text')
  t.equal(dottedPath([0]), '[0]')
  t.equal(dottedPath([]), '')
  t.equal(dottedPath(['logit_bias', 'x'.repeat(500)]).length, 'logit_bias.'.length + 65)
  t.equal(dottedPath(['\u001b[2J\u202eabc']), '\ufffd[2J\ufffdabc')
})
