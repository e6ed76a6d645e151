import { randomBytes } from 'node:crypto'
import { contextLengthExceeded, invalidPrompt } from './errors.js'
import type { Submission } from './frames-to-core.js'
import type { GenerateRequest } from './generate-request.js'
import type { GenerationDefaults } from './model/model-description.js'
import { type LogitBias, maxLogitBiases } from './sampling-params.js'

/** What a request is held against and filled in from. */
export interface SubmissionContext {
  readonly generation: GenerationDefaults
  readonly vocabSize: number
  readonly maxContextLen: number
}

/**
 * Gives every field its final value: the request's, else the model's, else a neutral one. Throws an
 * EngineError for what cannot be served; an answer that would outgrow the context is only cut.
 */
export function makeSubmission(
  id: number,
  request: GenerateRequest,
  promptTokenIds: Int32Array,
  context: SubmissionContext,
): Submission {
  const { vocabSize, maxContextLen, generation } = context
  checkPrompt(promptTokenIds, context)
  const { sampling, stop } = request
  const logitBias = sampling.logitBias ?? []
  checkLogitBias(logitBias, vocabSize)
  const maxNewTokens = maxContextLen - promptTokenIds.length
  const seed = BigInt.asUintN(64, sampling.seed ?? randomBytes(8).readBigUInt64LE())
  return {
    id,
    numChoices: request.numChoices,
    tenant: request.tenant,
    priority: request.priority,
    sampling: {
      temperature: sampling.temperature ?? generation.temperature ?? 1,
      topP: sampling.topP ?? generation.topP ?? 1,
      topK: sampling.topK ?? generation.topK ?? 0,
      minP: sampling.minP ?? generation.minP ?? 0,
      repetitionPenalty: sampling.repetitionPenalty ?? generation.repetitionPenalty ?? 1,
      frequencyPenalty: sampling.frequencyPenalty ?? 0,
      presencePenalty: sampling.presencePenalty ?? 0,
    },
    seedLow: Number(seed & 0xffff_ffffn),
    seedHigh: Number(seed >> 32n),
    maxTokens: Math.max(1, Math.min(stop.maxTokens ?? maxNewTokens, maxNewTokens)),
    minTokens: Math.min(stop.minTokens ?? 0, maxContextLen),
    ignoreEos: stop.ignoreEos ?? false,
    promptTokenIds,
    stopTokenIds: Int32Array.from(generation.eosTokenIds),
    biasTokenIds: Int32Array.from(logitBias, ({ tokenId }) => tokenId),
    biasValues: Float32Array.from(logitBias, ({ bias }) => bias),
  }
}

function checkPrompt(promptTokenIds: Int32Array, context: SubmissionContext): void {
  const { vocabSize, maxContextLen } = context
  if (promptTokenIds.length === 0) {
    throw invalidPrompt('The prompt has no tokens, and an answer needs at least one to follow.')
  }
  const wrong = promptTokenIds.find((tokenId) => !isTokenId(tokenId, vocabSize))
  if (wrong !== undefined) {
    throw invalidPrompt(
      `The prompt holds token ${wrong}; the model has tokens 0 to ${vocabSize - 1}.`,
    )
  }
  // The answer needs room for one token.
  if (promptTokenIds.length + 1 > maxContextLen) {
    throw contextLengthExceeded(promptTokenIds.length, maxContextLen)
  }
}

function checkLogitBias(logitBias: readonly LogitBias[], vocabSize: number): void {
  if (logitBias.length > maxLogitBiases) {
    throw invalidPrompt(
      `The logit bias has ${logitBias.length} entries; ${maxLogitBiases} are allowed.`,
    )
  }
  const wrong = logitBias.find(({ tokenId }) => !isTokenId(tokenId, vocabSize))
  if (wrong !== undefined) {
    throw invalidPrompt(
      `The logit bias names token ${wrong.tokenId}; the model has tokens 0 to ${vocabSize - 1}.`,
    )
  }
}

function isTokenId(tokenId: number, vocabSize: number): boolean {
  return Number.isInteger(tokenId) && tokenId >= 0 && tokenId < vocabSize
}
