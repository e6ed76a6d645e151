import { z } from 'zod'
import {
  maxChoices,
  maxLogitBiases,
  maxPriority,
  maxStopStringBytes,
  maxStopStrings,
  minPriority,
} from '../../engine/sampling-params.js'

/** No text can be longer than the body that brings it. */
export const maxTextLen = 4 * 1024 * 1024
export const maxNameLen = 256
export const maxSaltLen = 1024

export const text = z.string().max(maxTextLen)
export const name = z.string().max(maxNameLen)

/** An issue that knows its own code and words; see issues.ts. */
export function refusal(code: string, message: string, path: (string | number)[] = []) {
  return { code: 'custom' as const, message, path, params: { code } }
}

const stopString = z
  .string()
  .min(1)
  .max(maxStopStringBytes)
  .superRefine((value, context) => {
    const numBytes = Buffer.byteLength(value)
    if (value.length > maxStopStringBytes || numBytes <= maxStopStringBytes) return
    context.addIssue(
      refusal(
        'invalid_value',
        `it is ${numBytes} bytes long, at most ${maxStopStringBytes} are allowed`,
      ),
    )
  })

/** A whole number. `z.int()` would name its own limit of 2^53 where ours is meant. */
export function integer(min: number, max = 2 ** 31 - 1) {
  return z
    .number()
    .min(min)
    .max(max)
    .refine(Number.isInteger, {
      message: 'expected an integer, got a decimal number',
      params: { code: 'invalid_type' },
    })
    .meta({ type: 'integer' })
}

/**
 * Sampling, stopping and scheduling, the same in both endpoints. Absent and null are the same: not
 * given.
 */
export const samplingShape = {
  max_tokens: integer(1).optional(),
  min_tokens: integer(0).optional(),
  temperature: z.number().min(0).max(2).optional(),
  top_p: z.number().min(0).max(1).optional(),
  top_k: integer(-1).optional(),
  min_p: z.number().min(0).max(1).optional(),
  frequency_penalty: z.number().min(-2).max(2).optional(),
  presence_penalty: z.number().min(-2).max(2).optional(),
  repetition_penalty: z.number().min(0.01).max(100).optional(),
  logit_bias: z
    .record(z.string().regex(/^(0|[1-9][0-9]{0,9})$/), z.number().min(-100).max(100))
    .meta({ maxProperties: maxLogitBiases })
    .optional(),
  // JSON has no integers of 64 bits: what lies above 2^53 counts as it was parsed.
  seed: integer(-(2 ** 63), 2 ** 63).optional(),
  stop: z.union([stopString, z.array(stopString).max(maxStopStrings)]).optional(),
  ignore_eos: z.boolean().optional(),
  n: integer(1, maxChoices).optional(),
  priority: integer(minPriority, maxPriority).optional(),
  cache_salt: z.string().min(1).max(maxSaltLen).optional(),
}

/** How the answer is sent. */
export const streamShape = {
  stream: z.boolean().optional(),
  stream_options: z.object({ include_usage: z.boolean().optional() }).optional(),
}

interface CrossChecked {
  readonly stream?: boolean | undefined
  readonly stream_options?: object | undefined
  readonly max_tokens?: number | undefined
  readonly max_completion_tokens?: number | undefined
  readonly min_tokens?: number | undefined
}

/** What no single field can see. */
export function checkAcrossFields(body: CrossChecked, context: z.RefinementCtx): void {
  if (body.stream_options !== undefined && body.stream !== true) {
    context.addIssue(
      refusal('invalid_value', 'it is only allowed when stream is true', ['stream_options']),
    )
  }
  const maxTokens = body.max_completion_tokens ?? body.max_tokens
  if (maxTokens !== undefined && body.min_tokens !== undefined && body.min_tokens > maxTokens) {
    context.addIssue(
      refusal(
        'invalid_value',
        `${body.min_tokens} was given and the limit on tokens is ${maxTokens}; ask for fewer`,
        ['min_tokens'],
      ),
    )
  }
}
