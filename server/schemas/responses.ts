import { z } from 'zod'
import { maxChoices } from '../../engine/sampling-params.js'

/** What goes over the wire to the client: the one source of its types and of openapi.yaml. */

export const FinishReasonWire = z.enum(['stop', 'length'])

export const UsageWire = z.strictObject({
  prompt_tokens: z.int().min(0),
  completion_tokens: z.int().min(0),
  total_tokens: z.int().min(0),
  prompt_tokens_details: z.strictObject({ cached_tokens: z.int().min(0) }),
  completion_tokens_details: z.strictObject({ reasoning_tokens: z.int().min(0) }),
})
export type UsageWire = z.infer<typeof UsageWire>

const head = {
  id: z.string(),
  created: z.int().meta({ description: 'Seconds since 1970.' }),
  model: z.string(),
  system_fingerprint: z.string(),
}
const chatHead = { ...head, service_tier: z.literal('default') }

const ending = {
  finish_reason: FinishReasonWire,
  stop_reason: z.string().nullable().meta({ description: 'The stop string that matched.' }),
}

const index = z
  .int()
  .min(0)
  .max(maxChoices - 1)

function choicesOf<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.array(z.strictObject(shape)).min(1).max(maxChoices)
}

export const ChatCompletion = z.strictObject({
  ...chatHead,
  object: z.literal('chat.completion'),
  choices: choicesOf({
    index,
    message: z.strictObject({
      role: z.literal('assistant'),
      content: z.string(),
      refusal: z.null(),
    }),
    logprobs: z.null(),
    ...ending,
  }),
  usage: UsageWire,
})
export type ChatCompletion = z.infer<typeof ChatCompletion>

const chunkChoice = z.strictObject({
  index,
  delta: z.union([
    z.strictObject({ role: z.literal('assistant'), content: z.literal(''), refusal: z.null() }),
    z.strictObject({ content: z.string().min(1) }),
    z.strictObject({}),
  ]),
  logprobs: z.null(),
  finish_reason: FinishReasonWire.nullable(),
  stop_reason: z.string().nullable().optional(),
})

export const ChatCompletionChunk = z.strictObject({
  ...chatHead,
  object: z.literal('chat.completion.chunk'),
  choices: z.array(chunkChoice).max(1),
  usage: UsageWire.nullable().optional(),
})
export type ChatCompletionChunk = z.infer<typeof ChatCompletionChunk>

const completionChoice = {
  index,
  text: z.string(),
  logprobs: z.null(),
}

export const Completion = z.strictObject({
  ...head,
  object: z.literal('text_completion'),
  choices: choicesOf({ ...completionChoice, ...ending }),
  usage: UsageWire,
})
export type Completion = z.infer<typeof Completion>

export const CompletionChunk = z.strictObject({
  ...head,
  object: z.literal('text_completion'),
  choices: z
    .array(
      z.strictObject({
        ...completionChoice,
        finish_reason: FinishReasonWire.nullable(),
        stop_reason: z.string().nullable().optional(),
      }),
    )
    .max(1),
  usage: UsageWire.nullable().optional(),
})
export type CompletionChunk = z.infer<typeof CompletionChunk>

export const ModelWire = z.strictObject({
  id: z.string(),
  object: z.literal('model'),
  created: z.int(),
  owned_by: z.string(),
  max_model_len: z.int(),
  root: z.string(),
  parent: z.null(),
})
export type ModelWire = z.infer<typeof ModelWire>

export const ModelList = z.strictObject({ object: z.literal('list'), data: z.array(ModelWire) })
export type ModelList = z.infer<typeof ModelList>

export const Health = z.strictObject({ status: z.literal('ok') })
export const Ready = z.strictObject({ status: z.literal('ready') })
export const Version = z.strictObject({ version: z.string() })

export const ErrorResponseWire = z.object({
  error: z
    .object({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable(),
      code: z.string().nullable(),
    })
    .catchall(z.union([z.string(), z.number(), z.null()])),
})
