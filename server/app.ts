import cors from '@fastify/cors'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify'
import { addAccessLog } from './access-log.js'
import { answerBrokenRequest } from './broken-request.js'
import type { EngineGate } from './engine-gate.js'
import { maxBodyBytes, toErrorResponse } from './errors.js'
import { addCommonHeaders, newRequestId, publicRequestId } from './headers.js'
import { addHostCheck } from './host-check.js'
import { addJsonBodyParser } from './json-body.js'
import { closeWithConnection } from './pipelining.js'
import type { AppConfig, RouteContext } from './route-config.js'
import { addChatCompletions } from './routes/chat-completions.js'
import { addCompletions } from './routes/completions.js'
import { addHealth } from './routes/health.js'
import { addInternalState } from './routes/internal-state.js'
import { addModels } from './routes/models.js'
import { RouteList } from './routes/unknown-routes.js'

export interface AppOptions {
  readonly gate: EngineGate
  readonly config: AppConfig
  readonly logger: FastifyBaseLogger
}

/** The HTTP side, whole, not yet listening. */
export async function buildApp({ gate, config, logger }: AppOptions): Promise<FastifyInstance> {
  const app = createFastify(logger)
  app.server.maxHeadersCount = 64
  app.server.maxConnections = 4096
  app.setErrorHandler(sendError)
  closeWithConnection(app)
  addAccessLog(app)
  addCommonHeaders(app, gate)
  addHostCheck(app, config)
  await addCors(app, config.corsOrigins)
  addJsonBodyParser(app)

  const routes = new RouteList(app)
  const context: RouteContext = { gate, config, logger }
  addChatCompletions(app, context)
  addCompletions(app, context)
  addModels(app, context)
  addHealth(app, context)
  if (config.exposeInternalState) addInternalState(app, context)
  routes.refuseTheRest(app)
  return app
}

/** Every limit stated, none inherited: Fastify switches Node's request timeout off, for one. */
function createFastify(logger: FastifyBaseLogger): FastifyInstance {
  return Fastify({
    loggerInstance: logger,
    logController: new LogController({
      disableRequestLogging: true,
      requestIdLogLabel: 'requestId',
    }),
    genReqId: newRequestId,
    requestIdHeader: false,
    trustProxy: false,
    exposeHeadRoutes: false,
    bodyLimit: maxBodyBytes,
    onProtoPoisoning: 'error',
    onConstructorPoisoning: 'error',
    // Its answer would have a shape of its own; ours comes from the gate.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    requestTimeout: 30_000,
    keepAliveTimeout: 75_000,
    maxRequestsPerSocket: 10_000,
    routerOptions: { maxParamLength: 256 },
    http: {
      headersTimeout: 10_000,
      connectionsCheckingInterval: 1_000,
      maxHeaderSize: 16 * 1024,
      insecureHTTPParser: false,
    },
    clientErrorHandler: answerBrokenRequest,
    frameworkErrors: sendError,
  })
}

function sendError(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  if (reply.raw.destroyed) {
    // The client left: there is nobody to send anything to.
    reply.hijack()
    return
  }
  const { promptParam } = request.routeOptions.config
  const context = { requestId: publicRequestId(request), promptParam }
  const { status, headers, body } = toErrorResponse(error, context)
  if (status >= 500 && status !== 503) request.log.error({ err: error }, 'a request failed')
  reply.code(status).headers(headers).send(body)
}

/** Pages of other origins are let in only where the operator named them. */
async function addCors(app: FastifyInstance, origins: readonly string[]): Promise<void> {
  if (origins.length === 0) return
  await app.register(cors, {
    origin: origins.includes('*') ? '*' : [...origins],
    methods: ['GET', 'POST'],
    exposedHeaders: ['x-request-id', 'x-ignored-params', 'openai-processing-ms', 'retry-after'],
    maxAge: 600,
    // An OPTIONS request that is no preflight is an ordinary request to the wrong method.
    strictPreflight: false,
  })
}
