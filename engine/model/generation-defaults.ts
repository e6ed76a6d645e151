import { CONFIG_RANGES, checkInteger, checkNumber, type Range, shown } from './config.js'
import type { GgufMetadata } from './gguf-metadata.js'
import { type GenerationDefaults, ModelFileError } from './model-description.js'
import { isJsonObject, type JsonObject } from './strict-json.js'

const MAX_EOS_TOKENS = 64

/** What a generation_config.json may ask for: the bounds that requests have, too. */
const SAMPLING_RANGES = {
  temperature: { min: 0, max: 2 },
  top_p: { min: 0, max: 1 },
  top_k: { min: -1, max: CONFIG_RANGES.vocabSize.max },
  min_p: { min: 0, max: 1 },
  repetition_penalty: { min: 0.01, max: 10 },
} as const satisfies Record<string, Range>

/**
 * Tokens that end an answer whatever the metadata says: converters often name only one of a
 * model's two (the end of a turn, the end of a text).
 */
const END_TOKENS: ReadonlySet<string> = new Set([
  '<|im_end|>',
  '<|eot_id|>',
  '<|eom_id|>',
  '<|endoftext|>',
  '<|end_of_text|>',
])
/** tokenizer.ggml.token_type of a control token, and of one added by a user. */
const CONTROL_TYPES = [3, 4]

/**
 * Defaults from generation_config.json. The end tokens are those it names (config.json's, if it
 * names none) and the tokenizer's own, as chat templates close a turn with that one.
 */
export function generationFromJson(
  path: string,
  sources: { generation: JsonObject; config: JsonObject; tokenizerEosId: number | undefined },
  vocabSize: number,
): GenerationDefaults {
  const { generation, config, tokenizerEosId } = sources
  const named = generation.eos_token_id ?? config.eos_token_id ?? []
  const ids: unknown[] = Array.isArray(named) ? [...named] : [named]
  if (tokenizerEosId !== undefined) ids.push(tokenizerEosId)
  if (ids.length > MAX_EOS_TOKENS) {
    const message = `has ${ids.length} elements, the limit is ${MAX_EOS_TOKENS}`
    throw new ModelFileError(path, 'eos_token_id', message)
  }
  const range = { min: 0, max: vocabSize - 1 }
  const checked = ids.map((id) => checkInteger(path, 'eos_token_id', id, range))
  return {
    eosTokenIds: someEndTokens(path, 'eos_token_id', checked),
    ...readSampling(path, generation),
  }
}

/** End tokens from GGUF metadata: those it names and those known by their text. */
export function generationFromGguf(metadata: GgufMetadata, vocabSize: number): GenerationDefaults {
  const tokens = metadata.requireStrings('tokenizer.ggml.tokens')
  const types = metadata.integers('tokenizer.ggml.token_type', tokens.length)
  const range = { min: 0, max: vocabSize - 1 }
  const ids: number[] = []
  for (const name of ['eos', 'eot', 'eom']) {
    const key = `tokenizer.ggml.${name}_token_id`
    const id = metadata.integer(key)
    if (id !== undefined) ids.push(checkInteger(metadata.path, key, id, range))
  }
  tokens.forEach((token, id) => {
    if (END_TOKENS.has(token) && CONTROL_TYPES.includes(types?.[id] ?? -1)) ids.push(id)
  })
  return { eosTokenIds: someEndTokens(metadata.path, 'tokenizer.ggml.eos_token_id', ids) }
}

/** The id of tokenizer_config.json's eos_token in tokenizer.json, if both know one. */
export function findTokenizerEosId(
  tokenizer: JsonObject,
  eosToken: string | null,
): number | undefined {
  if (eosToken === null) return undefined
  const added = Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens : []
  for (const token of added) {
    if (!isJsonObject(token) || token.content !== eosToken) continue
    return Number.isSafeInteger(token.id) ? (token.id as number) : undefined
  }
  return undefined
}

function someEndTokens(path: string, field: string, ids: readonly number[]): number[] {
  if (ids.length === 0) {
    throw new ModelFileError(path, field, 'names no token: an answer would never end')
  }
  return [...new Set(ids)]
}

function readSampling(path: string, json: JsonObject): Omit<GenerationDefaults, 'eosTokenIds'> {
  const number = (key: keyof typeof SAMPLING_RANGES): number | undefined => {
    const value = json[key]
    if (value === undefined || value === null) return undefined
    return checkNumber(path, key, value, SAMPLING_RANGES[key])
  }
  const temperature = number('temperature')
  const topP = number('top_p')
  const topK = number('top_k')
  const minP = number('min_p')
  const repetitionPenalty = number('repetition_penalty')
  if (topK !== undefined && !Number.isInteger(topK)) {
    throw new ModelFileError(path, 'top_k', `is ${shown(topK)}, expected is an integer`)
  }
  return {
    ...(temperature !== undefined && { temperature }),
    ...(topP !== undefined && { topP }),
    ...(topK !== undefined && { topK }),
    ...(minP !== undefined && { minP }),
    ...(repetitionPenalty !== undefined && { repetitionPenalty }),
  }
}
