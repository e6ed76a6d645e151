import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Usage } from '../engine/generate-request.js'
import { publicRequestId } from './headers.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** Token counts of the answer, once it is finished. */
    usage: Usage | null
  }
}

/** What a client that left gets in the log; nothing is sent. */
const clientClosedRequest = 499

/** One line a request, when it is over: never the body, never the URL's query. */
export function addAccessLog(app: FastifyInstance): void {
  app.decorateRequest('usage', null)
  app.addHook('onRequest', async (request, reply) => {
    reply.raw.once('close', () => logRequest(request, reply))
  })
}

function logRequest(request: FastifyRequest, reply: FastifyReply): void {
  const { usage } = request
  const isComplete = reply.raw.writableFinished
  const publicId = publicRequestId(request)
  const fields = {
    ...(publicId !== request.id && { clientRequestId: publicId }),
    method: request.method,
    route: request.routeOptions.url ?? null,
    status: isComplete ? reply.raw.statusCode : clientClosedRequest,
    ms: Math.round(reply.elapsedTime),
    ...(usage && {
      promptTokens: usage.numPromptTokens,
      cachedTokens: usage.numCachedTokens,
      completionTokens: usage.numCompletionTokens,
    }),
  }
  if (request.routeOptions.config.isQuiet) request.log.debug(fields, 'request')
  else request.log.info(fields, isComplete ? 'request' : 'client left')
}
