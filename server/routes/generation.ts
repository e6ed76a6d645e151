import type { FastifyReply, FastifyRequest } from 'fastify'
import type { z } from 'zod'
import type { Engine, GenerateRequest, ModelCard, Usage } from '../../engine/generate-request.js'
import { type ChunkFrames, collectAnswer, toFrames, type WholeAnswer } from '../answer.js'
import { disconnectSignal } from '../disconnect.js'
import { toErrorResponse } from '../errors.js'
import { withFirst } from '../first-delta.js'
import { publicRequestId, setProcessingTime } from '../headers.js'
import type { AppConfig, RouteContext } from '../route-config.js'
import type { WireContext } from '../sampling-wire.js'
import type { FieldTable } from '../schemas/field.js'
import { readBody } from '../schemas/read-body.js'
import { sendEventStream } from '../sse.js'

/** What is particular to one endpoint. */
export interface GenerationPlan {
  readonly request: GenerateRequest
  readonly isStreamed: boolean
  readonly includeUsage: boolean
  readonly frames: ChunkFrames
  whole(answer: WholeAnswer): object
}

/** What a request's values are held against: the model's limits and the operator's. */
export function wireContext(model: ModelCard, config: AppConfig): WireContext {
  const { maxSequences = config.maxChoices, vocabSize } = model
  return {
    vocabSize,
    defaultMaxTokens: config.defaultMaxTokens,
    maxChoices: Math.min(config.maxChoices, maxSequences),
  }
}

/** Admits the request, then sends its answer, streamed or whole. */
export async function serveGeneration(
  request: FastifyRequest,
  reply: FastifyReply,
  context: RouteContext,
  engine: Engine,
  plan: GenerationPlan,
): Promise<object> {
  // Whatever can be refused (too long, queue full) is refused here, while a status can be sent.
  const generation = await engine.generate(plan.request, disconnectSignal(reply))
  const onUsage = (usage: Usage) => {
    request.usage = usage
  }
  if (!plan.isStreamed) {
    const answer = await collectAnswer(generation.deltas, plan.request.numChoices)
    onUsage(answer.usage)
    return plan.whole(answer)
  }
  // A request that waits too long in the queue should hear so as a status, not inside a stream.
  const { canExpire, keepAliveMs } = context.config
  const deltas = canExpire ? await withFirst(generation.deltas, keepAliveMs) : generation.deltas
  setProcessingTime(reply)
  const frames = toFrames(deltas, plan.frames, { includeUsage: plan.includeUsage, onUsage })
  await sendEventStream(reply, frames, {
    keepAliveMs,
    stallTimeoutMs: context.config.stallTimeoutMs,
    toErrorBody: (error) => {
      request.log.error({ err: error }, 'a stream failed after its start')
      return toErrorResponse(error, { requestId: publicRequestId(request) }).body
    },
  })
  return reply
}

/** Reads the body and says in a header, and once per key in the log, what was left out. */
export class BodyReader {
  readonly #context: RouteContext
  readonly #loggedParams = new Set<string>()

  constructor(context: RouteContext) {
    this.#context = context
  }

  read<T>(
    schema: z.ZodType<T>,
    fields: FieldTable,
    request: FastifyRequest,
    reply: FastifyReply,
  ): T {
    const { unknownParams: policy } = this.#context.config
    const { body, unknownParams } = readBody(schema, fields, request.body, policy)
    // A request may wait and run for minutes; what it sent beyond the known fields must not.
    request.body = undefined
    if (unknownParams.length > 0) {
      const names = unknownParams.map(printable)
      reply.header('x-ignored-params', names.join(', '))
      for (const name of names) this.#logOnce(name)
    }
    return body
  }

  #logOnce(name: string): void {
    if (this.#loggedParams.size >= maxLoggedParams || this.#loggedParams.has(name)) return
    this.#loggedParams.add(name)
    const message = 'a request has a parameter that is not known and was left out'
    this.#context.logger.warn({ param: name }, message)
  }
}

/** A client that invents keys must not fill the log. */
const maxLoggedParams = 256

/** Keys are the client's words, and headers are ASCII without separators. */
function printable(name: string): string {
  return name.replace(/[^\w.[\]-]/g, '?').slice(0, 64)
}
