import { randomBytes } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { EngineGate } from './engine-gate.js'

/** The date OpenAI gives its interface; clients print it. */
const openaiVersion = '2020-10-01'
const saneRequestId = /^[A-Za-z0-9._:-]{1,128}$/

/** Ids are ours; a client's is only echoed and logged, never used as a key. */
export function newRequestId(): string {
  return randomBytes(16).toString('hex')
}

/** The id this request is known by outside: the client's own where it is sane. */
export function publicRequestId(request: FastifyRequest): string {
  const given = request.headers['x-request-id']
  return typeof given === 'string' && saneRequestId.test(given) ? given : request.id
}

/** Headers of every answer, errors and streams included. */
export function addCommonHeaders(app: FastifyInstance, gate: EngineGate): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', publicRequestId(request))
    reply.header('openai-version', openaiVersion)
    reply.header('x-content-type-options', 'nosniff')
    reply.header('cache-control', 'no-store')
    if (gate.state === 'draining') reply.header('connection', 'close')
  })
  app.addHook('onSend', async (_request, reply) => setProcessingTime(reply))
}

/** Whole milliseconds from the request's arrival to its headers. */
export function setProcessingTime(reply: FastifyReply): void {
  reply.header('openai-processing-ms', String(Math.round(reply.elapsedTime)))
}
