import { ModelFileError } from '../model/model-description.js'

/** Limits of a tokenizer.json; a file cannot raise them. */
export const MAX_VOCAB_SIZE = 1 << 20
export const MAX_TOKEN_BYTES = 4096
const MAX_MERGES = 1 << 21

/** A token that the tokenizer finds before it splits text into words. */
export interface AddedToken {
  readonly id: number
  readonly content: string
  /** Has no visible text. */
  readonly isSpecial: boolean
  /**
   * May come from the chat template only, never from what a user wrote: special tokens, and markup
   * such as <think> or <tool_call> that models read as structure. Other added tokens are plain words.
   */
  readonly isControl: boolean
  /** Whether the token swallows the white space on its left, on its right. */
  readonly stripsLeft: boolean
  readonly stripsRight: boolean
}

export interface Vocabulary {
  /** Tokens of the model in the byte alphabet, with their ids. */
  readonly vocab: ReadonlyMap<string, number>
  readonly addedTokens: readonly AddedToken[]
  /** Ids are 0 to numTokens - 1, each used once. */
  readonly numTokens: number
}

export interface MergeRules {
  /** Ids of the two tokens that are merged and of the result, best merge first: 3 numbers each. */
  readonly triples: Int32Array
  /** A word that is a token as a whole is taken as it is, whatever the merges say. */
  readonly ignoresMergesForWholeWords: boolean
}

/** The JSON of tokenizer.json, as far as it is read here. Everything in it is checked before use. */
export type TokenizerJson = Readonly<Record<string, unknown>>

export function refuseTokenizer(field: string, message: string): never {
  throw new ModelFileError('tokenizer', field, message)
}

/** Reads and checks tokens and ids. Throws ModelFileError with field, value and limit. */
export function readTokenizer(tokenizer: TokenizerJson): Vocabulary {
  const model = readBpeModel(tokenizer)
  const entries = Object.entries(asObject(model.vocab, 'model.vocab'))
  if (entries.length === 0 || entries.length > MAX_VOCAB_SIZE) {
    refuseTokenizer(
      'model.vocab',
      `has ${entries.length} tokens, allowed are 1 to ${MAX_VOCAB_SIZE}`,
    )
  }
  const contents: (string | undefined)[] = []
  const vocab = new Map<string, number>()
  for (const [token, id] of entries) {
    checkToken(token, `model.vocab[${JSON.stringify(token.slice(0, 40))}]`)
    vocab.set(token, claimId(contents, id, token))
  }
  const addedTokens = readAddedTokens(tokenizer, contents)
  for (let id = 0; id < contents.length; id++) {
    if (contents[id] !== undefined) continue
    refuseTokenizer(
      'model.vocab',
      `no token has id ${id}, although ids go up to ${contents.length - 1}`,
    )
  }
  return { vocab, addedTokens, numTokens: contents.length }
}

function readAddedTokens(tokenizer: TokenizerJson, contents: (string | undefined)[]): AddedToken[] {
  const list = tokenizer.added_tokens ?? []
  if (!Array.isArray(list)) refuseTokenizer('added_tokens', 'is not an array')
  if (list.length > MAX_VOCAB_SIZE) {
    refuseTokenizer('added_tokens', `has ${list.length} tokens, the limit is ${MAX_VOCAB_SIZE}`)
  }
  return list.map((item, i) => {
    const field = `added_tokens[${i}]`
    const { content, id, special, single_word, lstrip, rstrip } = asObject(item, field)
    if (typeof content !== 'string' || content === '') {
      refuseTokenizer(`${field}.content`, 'is not a string of at least one character')
    }
    checkToken(content, `${field}.content`)
    if (single_word === true) {
      refuseTokenizer(`${field}.single_word`, 'is true, which is not supported')
    }
    const isControl = special === true || /[<>[\]|]/.test(content)
    if (special === true && content.length < 2) {
      // As one character it could not be told from the byte of a user's text.
      refuseTokenizer(
        `${field}.content`,
        'is a special token of one character, expected are two or more',
      )
    }
    return {
      id: claimId(contents, id, content),
      content,
      isSpecial: special === true,
      isControl: isControl && content.length > 1,
      stripsLeft: lstrip === true,
      stripsRight: rstrip === true,
    }
  })
}

/** Notes that `id` stands for `content`; the same pair may come twice (vocabulary and added tokens). */
function claimId(contents: (string | undefined)[], id: unknown, content: string): number {
  const name = JSON.stringify(content.slice(0, 40))
  if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= MAX_VOCAB_SIZE) {
    refuseTokenizer(`token ${name}`, `has id ${String(id)}, allowed are 0 to ${MAX_VOCAB_SIZE - 1}`)
  }
  // Filled in order, so that a file with one huge id does not make a sparse array.
  while (contents.length <= id) contents.push(undefined)
  if (contents[id] !== undefined && contents[id] !== content) {
    refuseTokenizer(`token ${name}`, `has id ${id}, which ${JSON.stringify(contents[id])} has too`)
  }
  contents[id] = content
  return id
}

/** Reads the merges and looks up their tokens. Throws ModelFileError where one is unknown. */
export function readMerges(
  tokenizer: TokenizerJson,
  vocab: ReadonlyMap<string, number>,
): MergeRules {
  const model = readBpeModel(tokenizer)
  const { merges } = model
  if (!Array.isArray(merges)) refuseTokenizer('model.merges', 'is not an array')
  if (merges.length > MAX_MERGES) {
    refuseTokenizer('model.merges', `has ${merges.length} merges, the limit is ${MAX_MERGES}`)
  }
  const triples = new Int32Array(3 * merges.length)
  for (let i = 0; i < merges.length; i++) {
    const [left, right] = readMerge(merges[i], i)
    const ids = [vocab.get(left), vocab.get(right), vocab.get(left + right)]
    ids.forEach((id, k) => {
      if (id === undefined) {
        const token = [left, right, left + right][k]
        refuseTokenizer(
          `model.merges[${i}]`,
          `uses ${JSON.stringify(token)}, which is not in the vocabulary`,
        )
      }
      triples[3 * i + k] = id
    })
  }
  return { triples, ignoresMergesForWholeWords: model.ignore_merges === true }
}

function readMerge(merge: unknown, i: number): [string, string] {
  const parts = typeof merge === 'string' ? merge.split(' ') : merge
  const isPair =
    Array.isArray(parts) && parts.length === 2 && parts.every((part) => typeof part === 'string')
  if (!isPair) refuseTokenizer(`model.merges[${i}]`, 'is not a pair of tokens')
  return parts as [string, string]
}

function readBpeModel(tokenizer: TokenizerJson): Record<string, unknown> {
  const model = asObject(tokenizer.model, 'model')
  if (model.type !== 'BPE') {
    refuseTokenizer('model.type', `is ${JSON.stringify(model.type)}, supported is "BPE"`)
  }
  if (model.byte_fallback === true) {
    refuseTokenizer(
      'model.byte_fallback',
      'is true: vocabularies with byte tokens such as <0x0A> are not supported, only byte-level ones',
    )
  }
  for (const option of ['dropout', 'continuing_subword_prefix', 'end_of_word_suffix']) {
    if (!model[option]) continue
    refuseTokenizer(
      `model.${option}`,
      `is ${JSON.stringify(model[option])}, which is not supported`,
    )
  }
  return model
}

function checkToken(token: string, field: string): void {
  // UTF-16 units never take more than three bytes each, so most tokens need no counting.
  const numBytes = token.length * 3 <= MAX_TOKEN_BYTES ? token.length : Buffer.byteLength(token)
  if (numBytes > MAX_TOKEN_BYTES) {
    refuseTokenizer(field, `is a token of ${numBytes} bytes, the limit is ${MAX_TOKEN_BYTES}`)
  }
}

export function asObject(value: unknown, field: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>
  }
  return refuseTokenizer(field, 'is not an object')
}
