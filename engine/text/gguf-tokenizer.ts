import type { GgufMetadata } from '../model/gguf-metadata.js'
import type { TextAssets } from '../model/model-description.js'
import { WORD_PATTERNS } from './pre-tokenizer.js'

/** Token types of tokenizer.ggml.token_type. */
const NORMAL = 1
const UNKNOWN = 2
const CONTROL = 3
const USER_DEFINED = 4
const UNUSED = 5

interface PreTokenizerKind {
  readonly normalizer: object | null
  readonly preTokenizer: object
  readonly ignoresMerges: boolean
  /** What tokenizer.ggml.add_bos_token means where the file does not say. */
  readonly addsBos: boolean
}

const BYTE_LEVEL = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true }
const BYTE_LEVEL_WITH_PATTERN = { ...BYTE_LEVEL, use_regex: true }

/** The values of tokenizer.ggml.pre that are known, as tokenizer.json states them. */
const PRE_TOKENIZERS: Readonly<Record<string, PreTokenizerKind>> = {
  'gpt-2': {
    normalizer: null,
    preTokenizer: BYTE_LEVEL_WITH_PATTERN,
    ignoresMerges: false,
    addsBos: false,
  },
  smollm: {
    normalizer: null,
    preTokenizer: sequence({ type: 'Digits', individual_digits: true }, BYTE_LEVEL_WITH_PATTERN),
    ignoresMerges: false,
    addsBos: false,
  },
  'llama-bpe': {
    normalizer: null,
    preTokenizer: splitThenBytes(WORD_PATTERNS.llama3),
    ignoresMerges: true,
    addsBos: true,
  },
  qwen2: {
    normalizer: { type: 'NFC' },
    preTokenizer: splitThenBytes(WORD_PATTERNS.qwen2),
    ignoresMerges: false,
    addsBos: false,
  },
}

/**
 * Makes the tokenizer.json and tokenizer_config.json that a GGUF file's metadata stand for. Throws
 * ModelFileError for models and pre-tokenizers that are not known by name, and for inconsistent lists.
 */
export function tokenizerFromGguf(metadata: GgufMetadata): TextAssets {
  const model = metadata.requireString('tokenizer.ggml.model')
  if (model !== 'gpt2') {
    metadata.fail('tokenizer.ggml.model', `is ${JSON.stringify(model)}, supported is "gpt2"`)
  }
  const kind = readPreTokenizerKind(metadata)
  const tokens = metadata.requireStrings('tokenizer.ggml.tokens')
  const types = metadata.requireNumbers('tokenizer.ggml.token_type', tokens.length)
  const bosToken = readTokenName(metadata, 'tokenizer.ggml.bos_token_id', tokens)
  const eosToken = readTokenName(metadata, 'tokenizer.ggml.eos_token_id', tokens)
  const addsBos = metadata.boolean('tokenizer.ggml.add_bos_token') ?? kind.addsBos
  const chatTemplate = metadata.string('tokenizer.chat_template') ?? null

  return {
    tokenizer: {
      version: '1.0',
      ...readTokens(metadata, tokens, types, kind),
      normalizer: kind.normalizer,
      pre_tokenizer: kind.preTokenizer,
      post_processor: addsBos && bosToken !== null ? bosFirst(bosToken) : null,
      decoder: { ...BYTE_LEVEL, use_regex: true },
    },
    tokenizerConfig: { bos_token: bosToken, eos_token: eosToken, add_bos_token: addsBos },
    chatTemplate,
    bosToken,
    eosToken,
  }
}

function readPreTokenizerKind(metadata: GgufMetadata): PreTokenizerKind {
  const name = metadata.requireString('tokenizer.ggml.pre')
  const kind = Object.hasOwn(PRE_TOKENIZERS, name) ? PRE_TOKENIZERS[name] : undefined
  if (kind !== undefined) return kind
  const known = Object.keys(PRE_TOKENIZERS).join(', ')
  metadata.fail('tokenizer.ggml.pre', `is ${JSON.stringify(name)}, supported are ${known}`)
}

function readTokenName(
  metadata: GgufMetadata,
  key: string,
  tokens: readonly string[],
): string | null {
  const id = metadata.integer(key)
  if (id === undefined) return null
  return tokens[id] ?? metadata.fail(key, `is ${id}, but there are ${tokens.length} tokens`)
}

function readTokens(
  metadata: GgufMetadata,
  tokens: readonly string[],
  types: ArrayLike<number>,
  kind: PreTokenizerKind,
): { added_tokens: object[]; model: object } {
  // No prototype: a token may be called __proto__.
  const vocab: Record<string, number> = Object.create(null)
  const addedTokens: object[] = []
  let numTokens = tokens.length
  // Padding to the width of the logits: ids that stand for nothing.
  while (numTokens > 0 && types[numTokens - 1] === UNUSED) numTokens--
  for (let id = 0; id < numTokens; id++) {
    const content = tokens[id]!
    const type = types[id]!
    if (type === NORMAL || type === UNUSED) {
      if (content in vocab)
        metadata.fail(`tokenizer.ggml.tokens[${id}]`, `repeats token ${vocab[content]}`)
      vocab[content] = id
    } else if (type === CONTROL || type === USER_DEFINED || type === UNKNOWN) {
      addedTokens.push(addedToken(id, content, type !== USER_DEFINED))
    } else {
      metadata.fail(
        `tokenizer.ggml.token_type[${id}]`,
        `is ${type}, known for this model are 1 to 5`,
      )
    }
  }
  return {
    added_tokens: addedTokens,
    model: {
      type: 'BPE',
      ignore_merges: kind.ignoresMerges,
      vocab,
      merges: metadata.requireStrings('tokenizer.ggml.merges'),
    },
  }
}

function addedToken(id: number, content: string, special: boolean): object {
  return {
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special,
  }
}

function bosFirst(bosToken: string): object {
  const bos = { SpecialToken: { id: bosToken, type_id: 0 } }
  return { type: 'TemplateProcessing', single: [bos, { Sequence: { id: 'A', type_id: 0 } }] }
}

function sequence(...pretokenizers: object[]): object {
  return { type: 'Sequence', pretokenizers }
}

function splitThenBytes(regex: string): object {
  const split = { type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false }
  return sequence(split, { ...BYTE_LEVEL, use_regex: false })
}
