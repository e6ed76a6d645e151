/** How the next token of a sequence is chosen. Every field has its final value: no defaults below. */
export interface SamplingParams {
  /** 0 is greedy, whatever the other fields say. */
  readonly temperature: number
  /** Smallest set of most likely tokens with at least this mass, 0..1; 1 is off, 0 keeps one. */
  readonly topP: number
  /** Number of most likely tokens kept; 0 is off. */
  readonly topK: number
  /** Tokens below minP times the most likely one's probability are dropped, 0..1; 0 is off. */
  readonly minP: number
  /** Over prompt and output, > 0; 1 is off. */
  readonly repetitionPenalty: number
  /** Over the output, by count, -2..2. */
  readonly frequencyPenalty: number
  /** Over the output, once, -2..2. */
  readonly presencePenalty: number
  /** 64 bits. The same seed draws the same tokens alone or in a crowd. */
  readonly seed: bigint
  /** Additive, sparse, at most `maxLogitBiases` entries, ids below the logits' width. */
  readonly logitBias: readonly LogitBias[]
}

export interface LogitBias {
  readonly tokenId: number
  readonly bias: number
}

/** When a sequence ends. */
export interface StopParams {
  /** New tokens at most; clamped by the engine to what fits the context and the pool. */
  readonly maxTokens: number
  /** End-of-sequence and stop ids are banned until this many new tokens exist. */
  readonly minTokens: number
  /** Go on past the model's end-of-sequence tokens. */
  readonly ignoreEos: boolean
  /** Matched on decoded text across tokens; each 1..256 bytes, at most 16. */
  readonly stopStrings: readonly string[]
}

/** Priorities are whole numbers; the lowest goes first. */
export const minPriority = -8
export const maxPriority = 7
/** Choices of one request, whatever the server's own limit. */
export const maxChoices = 128
export const maxLogitBiases = 1024
export const maxStopStrings = 16
export const maxStopStringBytes = 256
