import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { toErrorResponse } from '../errors.js'
import { publicRequestId } from '../headers.js'
import type { RouteContext } from '../route-config.js'
import { version } from '../version.js'

/**
 * GET /health: this process lives and has not given up. GET /ready: a request would be served now.
 * Neither asks the core, so both answer while it is busy.
 */
export function addHealth(app: FastifyInstance, { gate }: RouteContext): void {
  const options = { config: { isQuiet: true } }
  app.get('/health', options, async (request, reply) => {
    return probe(request, reply, { status: 'ok' }, () => gate.requireAlive())
  })
  app.get('/ready', options, async (request, reply) => {
    return probe(request, reply, { status: 'ready' }, () => gate.requireReady())
  })
  app.get('/version', options, async () => ({ version }))
}

/** The answer, or 503 with what `check` throws: a prober hears "not now", whatever the fault. */
function probe(
  request: FastifyRequest,
  reply: FastifyReply,
  answer: object,
  check: () => void,
): object {
  try {
    check()
    return answer
  } catch (error) {
    const { headers, body } = toErrorResponse(error, { requestId: publicRequestId(request) })
    return reply.code(503).headers(headers).send(body)
  }
}
