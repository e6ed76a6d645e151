import type { ChatMessage, GenerateRequest } from '../engine/generate-request.js'
import type { AnswerHead, ChunkFrames, ChunkOptions, WholeAnswer } from './answer.js'
import { fillTemplate, splitTemplate, templateMarker, toUsageWire } from './answer.js'
import {
  toSamplingParams,
  toSchedulingParams,
  toStopParams,
  type WireContext,
} from './sampling-wire.js'
import type { ChatCompletionRequest, ChatMessageWire } from './schemas/chat-request.js'
import type { ChatCompletion, ChatCompletionChunk } from './schemas/responses.js'
import { toDataFrame } from './sse.js'

export function toGenerateRequest(
  body: ChatCompletionRequest,
  context: WireContext,
): GenerateRequest {
  const maxTokens = body.max_completion_tokens ?? body.max_tokens ?? context.defaultMaxTokens
  return {
    prompt: { kind: 'chat', messages: body.messages.map(toChatMessage) },
    sampling: toSamplingParams(body, context.vocabSize),
    stop: toStopParams(body, maxTokens),
    ...toSchedulingParams(body, context),
  }
}

function toChatMessage(message: ChatMessageWire): ChatMessage {
  switch (message.role) {
    case 'assistant':
      return toAssistantMessage(message)
    case 'tool':
      return {
        role: 'tool',
        content: joinParts(message.content),
        ...(message.tool_call_id !== undefined && { toolCallId: message.tool_call_id }),
        ...(message.name !== undefined && { name: message.name }),
      }
    case 'function':
      // OpenAI's older name for the same thing.
      return { role: 'tool', content: joinParts(message.content), name: message.name }
    default:
      return {
        role: message.role,
        content: joinParts(message.content),
        ...(message.name !== undefined && { name: message.name }),
      }
  }
}

function toAssistantMessage(message: ChatMessageWire & { role: 'assistant' }): ChatMessage {
  const content = message.content === undefined ? undefined : joinParts(message.content)
  const reasoning = message.reasoning ?? message.reasoning_content
  const toolCalls = message.tool_calls ?? []
  return {
    role: 'assistant',
    content: content ?? message.refusal ?? null,
    ...(message.name !== undefined && { name: message.name }),
    ...(toolCalls.length > 0 && {
      toolCalls: toolCalls.map(({ id, function: call }) => ({ id, ...call })),
    }),
    ...(reasoning !== undefined && { reasoning }),
  }
}

type TextPart = { type: 'text'; text: string } | { type: 'refusal'; refusal: string }

function joinParts(content: string | readonly TextPart[]): string {
  if (typeof content === 'string') return content
  return content.map((part) => (part.type === 'text' ? part.text : part.refusal)).join('\n')
}

export function toChatCompletion(head: AnswerHead, answer: WholeAnswer): ChatCompletion {
  return {
    id: head.id,
    object: 'chat.completion',
    created: head.created,
    model: head.model,
    system_fingerprint: head.system_fingerprint,
    service_tier: 'default',
    choices: answer.choices.map(({ text, finish }, index) => ({
      index,
      message: { role: 'assistant', content: text, refusal: null },
      logprobs: null,
      finish_reason: finish.reason,
      stop_reason: finish.stopString ?? null,
    })),
    usage: toUsageWire(answer.usage),
  }
}

type ChunkChoice = ChatCompletionChunk['choices'][number]

/** For each choice a role, text …, a finish with an empty delta; then usage when asked for. */
export function chatChunkFrames(
  head: AnswerHead,
  { numChoices, includeUsage }: ChunkOptions,
): ChunkFrames {
  const chunk = (choices: ChunkChoice[]): ChatCompletionChunk => ({
    id: head.id,
    object: 'chat.completion.chunk',
    created: head.created,
    model: head.model,
    system_fingerprint: head.system_fingerprint,
    service_tier: 'default',
    choices,
    ...(includeUsage && { usage: null }),
  })
  const choice = (index: number, delta: ChunkChoice['delta']): ChunkChoice => ({
    index,
    delta,
    logprobs: null,
    finish_reason: null,
  })
  const indices = Array.from({ length: numChoices }, (_, index) => index)
  const openingOf = (index: number) =>
    toDataFrame(chunk([choice(index, { role: 'assistant', content: '', refusal: null })]))
  const templates = indices.map((index) =>
    splitTemplate(chunk([choice(index, { content: templateMarker })])),
  )
  return {
    opening: indices.map(openingOf).join(''),
    text: (index, text) => fillTemplate(templates[index]!, text),
    finish: (index, { reason, stopString }) =>
      toDataFrame(
        chunk([{ ...choice(index, {}), finish_reason: reason, stop_reason: stopString ?? null }]),
      ),
    usage: (usage) => toDataFrame({ ...chunk([]), usage }),
  }
}
