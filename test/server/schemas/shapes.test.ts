import t from 'tap'
import { z } from 'zod'
import { ChatCompletionRequest } from '../../../server/schemas/chat-request.js'
import { CompletionRequest } from '../../../server/schemas/completion-request.js'
import { integer, refusal } from '../../../server/schemas/shapes.js'

t.test('an integer is checked as one and described as one', async (t) => {
  const schema = integer(-3, 5)
  for (const value of [-3, 0, 5]) t.ok(schema.safeParse(value).success, String(value))
  for (const value of [-4, 6, 1.5, '1', Number.NaN]) t.notOk(schema.safeParse(value).success)
  t.match(z.toJSONSchema(schema), { type: 'integer', minimum: -3, maximum: 5 })
})

t.test('a refusal carries its code', async (t) => {
  t.strictSame(refusal('invalid_value', 'no', ['a', 0]), {
    code: 'custom',
    message: 'no',
    path: ['a', 0],
    params: { code: 'invalid_value' },
  })
})

type Node = { [key: string]: unknown } & { type?: string }

/** Everything a client sends has a bound: an unbounded node is somebody's attack. */
function unbounded(node: unknown, path: string): string[] {
  if (typeof node !== 'object' || node === null) return []
  const { type, ...rest } = node as Node
  const here: string[] = []
  if (type === 'string' && !('maxLength' in rest || 'const' in rest || 'enum' in rest))
    here.push(path)
  if (type === 'array' && !('maxItems' in rest)) here.push(path)
  if (type === 'object' && 'propertyNames' in rest && !('maxProperties' in rest)) here.push(path)
  if ((type === 'number' || type === 'integer') && !('maximum' in rest && 'minimum' in rest)) {
    here.push(path)
  }
  const inner = Object.entries(rest).filter(([key]) => key !== 'propertyNames')
  return [...here, ...inner.flatMap(([key, value]) => unbounded(value, `${path}/${key}`))]
}

t.test('every string, list, map and number of a request has a bound', async (t) => {
  for (const schema of [ChatCompletionRequest, CompletionRequest]) {
    t.strictSame(unbounded(z.toJSONSchema(schema, { io: 'input' }), ''), [])
  }
  t.strictSame(
    unbounded({ properties: { a: { type: 'string' } } }, ''),
    ['/properties/a'],
    'it can fail',
  )
})
