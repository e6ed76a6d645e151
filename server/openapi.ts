import { z } from 'zod'
import { catalogue } from './errors.js'
import { ChatCompletionRequest } from './schemas/chat-request.js'
import { CompletionRequest } from './schemas/completion-request.js'
import {
  ChatCompletion,
  ChatCompletionChunk,
  Completion,
  CompletionChunk,
  ErrorResponseWire,
  Health,
  ModelList,
  ModelWire,
  Ready,
  Version,
} from './schemas/responses.js'
import { version } from './version.js'

type Json = Record<string, unknown>

const requestSchemas = { ChatCompletionRequest, CompletionRequest }
const responseSchemas = {
  ChatCompletion,
  ChatCompletionChunk,
  Completion,
  CompletionChunk,
  ModelList,
  Model: ModelWire,
  Health,
  Ready,
  Version,
  Error: ErrorResponseWire,
}

/** The OpenAPI 3.1 description of the server, made of the schemas that check its traffic. */
export function buildOpenApi(): Json {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Kvasir',
      version,
      description:
        'An OpenAI-compatible server for language models. docs/compatibility.md says of each field ' +
        'of OpenAI whether it is supported, ignored or refused; the schemas here hold the supported ones.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: 'http://127.0.0.1:8000' }],
    paths: buildPaths(),
    components: { schemas: buildSchemas() },
  }
}

function buildSchemas(): Json {
  const requests = Object.entries(requestSchemas).map(([name, schema]) => [
    name,
    allowNull(toJsonSchema(schema, 'input')),
  ])
  const responses = Object.entries(responseSchemas).map(([name, schema]) => [
    name,
    toJsonSchema(schema, 'output'),
  ])
  return Object.fromEntries([...requests, ...responses])
}

function toJsonSchema(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io }) as Json
  return rest
}

/** Null means "not given" for every field that may be left out. */
function allowNull(schema: Json): Json {
  const required = new Set((schema.required as string[] | undefined) ?? [])
  const properties = Object.entries(schema.properties as Record<string, Json>).map(
    ([name, property]) => [
      name,
      required.has(name) ? property : { anyOf: [property, { type: 'null' }] },
    ],
  )
  return { ...schema, properties: Object.fromEntries(properties) }
}

function buildPaths(): Json {
  const refusals = [400, 403, 404, 413, 415, 500, 503]
  return {
    '/v1/chat/completions': {
      post: generation('Answer a chat', 'ChatCompletionRequest', 'ChatCompletion', refusals),
    },
    '/v1/completions': {
      post: generation('Continue a text', 'CompletionRequest', 'Completion', refusals),
    },
    '/v1/models': { get: getting('List the served models', 'ModelList', [503]) },
    '/v1/models/{id}': {
      get: {
        ...getting('Describe a served model', 'Model', [404, 503]),
        parameters: [
          {
            name: 'id',
            in: 'path',
            required: true,
            description: 'May contain slashes, plain or as %2F.',
            schema: { type: 'string' },
          },
        ],
      },
    },
    '/health': { get: getting('Whether this process lives', 'Health', [503]) },
    '/ready': { get: getting('Whether a request would be served now', 'Ready', [503]) },
    '/version': { get: getting('The version of the server', 'Version', []) },
  }
}

function generation(summary: string, request: string, answer: string, refusals: number[]): Json {
  return {
    summary,
    requestBody: { required: true, content: { 'application/json': { schema: ref(request) } } },
    responses: {
      200: {
        description: `The answer; with stream, server-sent events of ${answer}Chunk that end with [DONE].`,
        content: {
          'application/json': { schema: ref(answer) },
          'text/event-stream': { schema: ref(`${answer}Chunk`) },
        },
      },
      ...errorResponses(refusals),
    },
  }
}

function getting(summary: string, answer: string, refusals: number[]): Json {
  return {
    summary,
    responses: {
      200: { description: 'OK', content: { 'application/json': { schema: ref(answer) } } },
      ...errorResponses(refusals),
    },
  }
}

/** The codes of the catalogue, by status. */
function errorResponses(statuses: readonly number[]): Json {
  return Object.fromEntries(
    statuses.map((status) => {
      const codes = Object.entries(catalogue).flatMap(([code, entry]) =>
        entry.status === status ? [code] : [],
      )
      return [
        status,
        {
          description: codes.join(', '),
          content: { 'application/json': { schema: ref('Error') } },
        },
      ]
    }),
  )
}

function ref(name: string): Json {
  return { $ref: `#/components/schemas/${name}` }
}
