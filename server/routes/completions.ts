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
import { BodyReader, serveGeneration, wireContext } from './generation.js'
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
    const wanted = toGenerateRequest(body, wireContext(engine.model, config))
    const chunkOptions = {
      numChoices: wanted.numChoices,
      includeUsage: body.stream_options?.include_usage === true,
    }
    return serveGeneration(request, reply, context, engine, {
      request: wanted,
      isStreamed: body.stream === true,
      includeUsage: chunkOptions.includeUsage,
      frames: completionChunkFrames(head, chunkOptions),
      whole: (answer) => toCompletion(head, answer),
    })
  })
}
