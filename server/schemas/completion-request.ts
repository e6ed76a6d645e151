import { z } from 'zod'
import { checkAcrossFields, name, samplingShape, streamShape, text } from './shapes.js'

/** Longer prompts do not fit any context; the exact limit is the model's. */
export const maxPromptTokens = 2 ** 20

/** The body of POST /v1/completions, once its fields have been judged (fields.ts). */
export const CompletionRequest = z
  .object({
    model: name.optional(),
    prompt: z.union([text, z.array(z.int32().min(0)).min(1).max(maxPromptTokens)]),
    ...samplingShape,
    ...streamShape,
  })
  .superRefine(checkAcrossFields)
export type CompletionRequest = z.infer<typeof CompletionRequest>
