import type { FastifyInstance } from 'fastify'
import { newAnswerHead } from '../answer.js'
import {
  completionChunkFrames,
  refuseImpossiblePrompt,
  toCompletion,
  toGenerateRequest,
} from '../completion-wire.js'
import type { RouteContext } from '../route-config.js'
import { CompletionRequest } from '../schemas/completion-request.js'
import { completionFields } from '../schemas/fields.js'
import { BodyReader, serveGeneration } from './generation.js'
import { requireServedModel } from './models.js'

/** POST /v1/completions, streamed or whole. */
export function addCompletions(app: FastifyInstance, context: RouteContext): void {
  const { gate, config } = context
  const reader = new BodyReader(context)
  const options = { config: { promptParam: 'prompt' } }
  app.post('/v1/completions', options, async (request, reply) => {
    gate.track(reply.raw)
    const engine = gate.admit()
    refuseImpossiblePrompt(request.body, engine.model)
    const body = reader.read(CompletionRequest, completionFields, request, reply)
    requireServedModel(body.model, engine.model, config)
    const head = newAnswerHead('cmpl', engine.model)
    const includeUsage = body.stream_options?.include_usage === true
    return serveGeneration(request, reply, context, engine, {
      request: toGenerateRequest(body, {
        vocabSize: engine.model.vocabSize,
        defaultMaxTokens: config.defaultMaxTokens,
      }),
      isStreamed: body.stream === true,
      includeUsage,
      frames: completionChunkFrames(head, includeUsage),
      whole: (answer) => toCompletion(head, answer),
    })
  })
}
