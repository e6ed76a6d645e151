import { contextLengthExceeded } from '../engine/errors.js'
import type { GenerateRequest, ModelCard, Prompt } from '../engine/generate-request.js'
import type { AnswerHead, ChunkFrames, ChunkOptions, WholeAnswer } from './answer.js'
import { fillTemplate, splitTemplate, templateMarker, toUsageWire } from './answer.js'
import { ApiError } from './errors.js'
import {
  toSamplingParams,
  toSchedulingParams,
  toStopParams,
  type WireContext,
} from './sampling-wire.js'
import type { CompletionRequest } from './schemas/completion-request.js'
import type { Completion, CompletionChunk } from './schemas/responses.js'
import { toDataFrame } from './sse.js'

/**
 * Looks at an array before each of its entries is: a million token ids do not fit, whatever they
 * are, and several prompts in one request are not served.
 */
export function refuseImpossiblePrompt(body: unknown, model: ModelCard): void {
  const prompt = (body as { readonly prompt?: unknown } | null | undefined)?.prompt
  if (!Array.isArray(prompt) || prompt.length === 0) return
  if (typeof prompt[0] === 'string' || Array.isArray(prompt[0])) {
    throw new ApiError(
      'unsupported_value',
      `Unsupported value: 'prompt' is a list of prompts. Send one request for each, with a string or an array of token ids.`,
      'prompt',
    )
  }
  if (prompt.length >= model.maxContextLen) {
    throw contextLengthExceeded(prompt.length, model.maxContextLen)
  }
}

export function toGenerateRequest(body: CompletionRequest, context: WireContext): GenerateRequest {
  return {
    prompt: toPrompt(body.prompt, context.vocabSize),
    sampling: toSamplingParams(body, context.vocabSize),
    stop: toStopParams(body, body.max_tokens ?? context.defaultMaxTokens),
    ...toSchedulingParams(body, context),
  }
}

function toPrompt(prompt: string | readonly number[], vocabSize: number): Prompt {
  if (typeof prompt === 'string') return { kind: 'text', text: prompt }
  const outside = prompt.findIndex((tokenId) => tokenId >= vocabSize)
  if (outside !== -1) {
    throw new ApiError(
      'invalid_value',
      `Invalid value for 'prompt[${outside}]': ${prompt[outside]} was given; the model has token ids from 0 to ${vocabSize - 1}.`,
      `prompt[${outside}]`,
    )
  }
  return { kind: 'tokens', tokenIds: Int32Array.from(prompt) }
}

export function toCompletion(head: AnswerHead, answer: WholeAnswer): Completion {
  return {
    id: head.id,
    object: 'text_completion',
    created: head.created,
    model: head.model,
    system_fingerprint: head.system_fingerprint,
    choices: answer.choices.map(({ text, finish }, index) => ({
      index,
      text,
      logprobs: null,
      finish_reason: finish.reason,
      stop_reason: finish.stopString ?? null,
    })),
    usage: toUsageWire(answer.usage),
  }
}

/** For each choice text chunks and a finish chunk with empty text; then usage when asked for. */
export function completionChunkFrames(
  head: AnswerHead,
  { numChoices, includeUsage }: ChunkOptions,
): ChunkFrames {
  const chunk = (choices: CompletionChunk['choices']): CompletionChunk => ({
    id: head.id,
    object: 'text_completion',
    created: head.created,
    model: head.model,
    system_fingerprint: head.system_fingerprint,
    choices,
    ...(includeUsage && { usage: null }),
  })
  const choice = (index: number, text: string) =>
    ({ index, text, logprobs: null, finish_reason: null }) as const
  const templates = Array.from({ length: numChoices }, (_, index) =>
    splitTemplate(chunk([choice(index, templateMarker)])),
  )
  return {
    opening: '',
    text: (index, text) => fillTemplate(templates[index]!, text),
    finish: (index, { reason, stopString }) =>
      toDataFrame(
        chunk([{ ...choice(index, ''), finish_reason: reason, stop_reason: stopString ?? null }]),
      ),
    usage: (usage) => toDataFrame({ ...chunk([]), usage }),
  }
}
