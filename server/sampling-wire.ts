import type { GenerateRequest } from '../engine/generate-request.js'
import type { LogitBias, SamplingParams, StopParams } from '../engine/sampling-params.js'
import { ApiError } from './errors.js'
import type { CompletionRequest } from './schemas/completion-request.js'
import { tenantOf } from './tenant.js'

type WireSampling = Omit<CompletionRequest, 'prompt' | 'model' | 'stream' | 'stream_options'>

/** What a request is held against beyond its schema. */
export interface WireContext {
  readonly vocabSize: number
  readonly defaultMaxTokens: number | undefined
  /** The most answers (n) a request may ask for. */
  readonly maxChoices: number
}

/** Below this, dividing logits by the temperature leaves the range of fp32: it means greedy. */
const minTemperature = 1e-5

/** OpenAI's names become ours. What was not given stays out: the engine knows the model's defaults. */
export function toSamplingParams(body: WireSampling, vocabSize: number): Partial<SamplingParams> {
  return compact({
    temperature:
      body.temperature !== undefined && body.temperature < minTemperature ? 0 : body.temperature,
    topP: body.top_p,
    topK: body.top_k === -1 ? 0 : body.top_k,
    minP: body.min_p,
    repetitionPenalty: body.repetition_penalty,
    frequencyPenalty: body.frequency_penalty,
    presencePenalty: body.presence_penalty,
    // Negative seeds are the upper half of 64 bits.
    seed: body.seed === undefined ? undefined : BigInt.asUintN(64, BigInt(body.seed)),
    logitBias: body.logit_bias === undefined ? undefined : toLogitBias(body.logit_bias, vocabSize),
  })
}

export function toStopParams(
  body: WireSampling,
  maxTokens: number | undefined,
): Partial<StopParams> {
  return compact({
    maxTokens,
    minTokens: body.min_tokens,
    ignoreEos: body.ignore_eos,
    stopStrings: typeof body.stop === 'string' ? [body.stop] : body.stop,
  })
}

/** How many answers, how soon, and with whom their prefixes are shared. */
export function toSchedulingParams(
  body: WireSampling,
  { maxChoices }: WireContext,
): Pick<GenerateRequest, 'numChoices' | 'priority' | 'tenant'> {
  const { n = 1, priority = 0, cache_salt: cacheSalt } = body
  if (n > maxChoices) {
    throw new ApiError(
      'invalid_value',
      `Invalid value for 'n': ${n} was given; this server makes at most ${maxChoices} answers to a request.`,
      'n',
    )
  }
  return { numChoices: n, priority, tenant: cacheSalt === undefined ? 0 : tenantOf(cacheSalt) }
}

/** The width of the logits is the limit, not the tokenizer's size: the kernel writes there. */
function toLogitBias(
  biases: Readonly<Record<string, number>>,
  vocabSize: number,
): readonly LogitBias[] {
  return Object.entries(biases).map(([key, bias]) => {
    const tokenId = Number(key)
    if (tokenId >= vocabSize) {
      throw new ApiError(
        'invalid_value',
        `Invalid value for 'logit_bias.${key}': the model has token ids from 0 to ${vocabSize - 1}.`,
        `logit_bias.${key}`,
      )
    }
    return { tokenId, bias }
  })
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> }

function compact<T extends object>(fields: T): Given<T> {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined),
  ) as Given<T>
}
