import { readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import { buildOpenApi } from '../../server/openapi.js'
import { startApp } from './app-under-test.js'

const description = JSON.parse(JSON.stringify(buildOpenApi()))

t.test('openapi.yaml is what the schemas say', async (t) => {
  t.strictSame(parse(readFileSync('openapi.yaml', 'utf8')), description)
})

t.test('every reference leads somewhere', async (t) => {
  const names = new Set(Object.keys(description.components.schemas))
  const references = JSON.stringify(description).matchAll(/"#\/components\/schemas\/(\w+)"/g)
  for (const [, name] of references) t.ok(names.has(name!), `${name}`)
})

t.test('every path that is described is served, with its methods', async (t) => {
  const { app } = await startApp(t)
  for (const [path, methods] of Object.entries<object>(description.paths)) {
    for (const method of Object.keys(methods)) {
      const url = path.replace('{id}', '*')
      t.ok(app.hasRoute({ url, method: method.toUpperCase() }), `${method} ${path}`)
    }
  }
})

t.test('limits arrive in the description', async (t) => {
  const { ChatCompletionRequest } = description.components.schemas
  t.match(ChatCompletionRequest.properties, {
    temperature: { anyOf: [{ type: 'number', minimum: 0, maximum: 2 }, { type: 'null' }] },
    max_tokens: { anyOf: [{ type: 'integer', minimum: 1, maximum: 2147483647 }, { type: 'null' }] },
    messages: { type: 'array', minItems: 1, maxItems: 4096 },
  })
  t.strictSame(ChatCompletionRequest.required, ['messages'])
})
