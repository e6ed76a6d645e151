import type { FastifyInstance } from 'fastify'
import { newAnswerHead } from '../answer.js'
import { chatChunkFrames, toChatCompletion, toGenerateRequest } from '../chat-wire.js'
import type { RouteContext } from '../route-config.js'
import { ChatCompletionRequest } from '../schemas/chat-request.js'
import { chatFields } from '../schemas/fields.js'
import { BodyReader, serveGeneration, wireContext } from './generation.js'
import { requireServedModel } from './models.js'

/** POST /v1/chat/completions, streamed or whole. */
export function addChatCompletions(app: FastifyInstance, context: RouteContext): void {
  const { gate, config } = context
  const reader = new BodyReader(context)
  const options = { config: { promptParam: 'messages' } }
  app.post('/v1/chat/completions', options, async (request, reply) => {
    gate.track(reply.raw)
    const engine = gate.admit()
    const body = reader.read(ChatCompletionRequest, chatFields, request, reply)
    requireServedModel(body.model, engine.model, config)
    const head = newAnswerHead('chatcmpl', engine.model)
    const wanted = toGenerateRequest(body, wireContext(engine.model, config))
    const chunkOptions = {
      numChoices: wanted.numChoices,
      includeUsage: body.stream_options?.include_usage === true,
    }
    return serveGeneration(request, reply, context, engine, {
      request: wanted,
      isStreamed: body.stream === true,
      includeUsage: chunkOptions.includeUsage,
      frames: chatChunkFrames(head, chunkOptions),
      whole: (answer) => toChatCompletion(head, answer),
    })
  })
}
