import { z } from 'zod'
import {
  checkAcrossFields,
  integer,
  name,
  refusal,
  samplingShape,
  streamShape,
  text,
} from './shapes.js'

const textPart = z.object({ type: z.literal('text'), text })
const refusalPart = z.object({ type: z.literal('refusal'), refusal: text })

const content = z.union([
  text,
  z
    .array(z.discriminatedUnion('type', [textPart]))
    .min(1)
    .max(1024),
])
const assistantContent = z.union([
  text,
  z
    .array(z.discriminatedUnion('type', [textPart, refusalPart]))
    .min(1)
    .max(1024),
])

const toolCall = z.object({
  id: name,
  type: z.literal('function'),
  function: z.object({ name, arguments: text }),
})

const assistantMessage = z
  .object({
    role: z.literal('assistant'),
    content: assistantContent.optional(),
    name: name.optional(),
    refusal: text.optional(),
    tool_calls: z.array(toolCall).max(128).optional(),
    reasoning: text.optional(),
    reasoning_content: text.optional(),
  })
  .superRefine((message, context) => {
    if (message.content !== undefined || message.refusal !== undefined) return
    if (message.tool_calls !== undefined && message.tool_calls.length > 0) return
    context.addIssue(
      refusal(
        'missing_required_parameter',
        'an assistant message needs it unless it has tool_calls',
        ['content'],
      ),
    )
  })

export const ChatMessageWire = z.discriminatedUnion('role', [
  z.object({ role: z.literal('system'), content, name: name.optional() }),
  z.object({ role: z.literal('developer'), content, name: name.optional() }),
  z.object({ role: z.literal('user'), content, name: name.optional() }),
  assistantMessage,
  z.object({
    role: z.literal('tool'),
    content,
    tool_call_id: name.optional(),
    name: name.optional(),
  }),
  z.object({ role: z.literal('function'), content, name }),
])
export type ChatMessageWire = z.infer<typeof ChatMessageWire>

/** The body of POST /v1/chat/completions, once its fields have been judged (fields.ts). */
export const ChatCompletionRequest = z
  .object({
    model: name.optional(),
    messages: z.array(ChatMessageWire).min(1).max(4096),
    max_completion_tokens: integer(1).optional(),
    ...samplingShape,
    ...streamShape,
  })
  .superRefine(checkAcrossFields)
export type ChatCompletionRequest = z.infer<typeof ChatCompletionRequest>
