import { asObject, refuseTokenizer, type TokenizerJson } from './tokenizer-file.js'

/** The published word patterns. No other pattern is ever compiled: one from a file could hang us. */
export const WORD_PATTERNS = {
  gpt2: "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  llama3:
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" +
    '| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+',
  qwen2:
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" +
    '| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+',
} as const

const DIGIT = '\\p{N}'
const KNOWN_PATTERNS: ReadonlySet<string> = new Set([...Object.values(WORD_PATTERNS), DIGIT])

/** One stage: split at each match of a pattern and keep both the matches and what is between. */
export interface SplitStage {
  readonly type: 'Split'
  readonly pattern: { readonly Regex: string }
  readonly behavior: 'Isolated'
  readonly invert: false
}

/**
 * Reads the pre-tokenizer as a row of splits followed by the byte alphabet, refusing what is not
 * known by name.
 *
 * Stages that the library implements with JavaScript's own \d and \s are written as splits with
 * Unicode classes: the originals count every numeric character as a digit (²,½,٣) and U+0085 as
 * white space, but not U+FEFF.
 */
export function readPreTokenizer(tokenizer: TokenizerJson): SplitStage[] {
  const stages = flatten(tokenizer.pre_tokenizer, 'pre_tokenizer')
  const last = stages.pop()
  if (last?.type !== 'ByteLevel') {
    refuseTokenizer(
      'pre_tokenizer',
      'does not end with "ByteLevel"; only byte-level tokenizers are supported',
    )
  }
  if (last.add_prefix_space === true) {
    refuseTokenizer('pre_tokenizer.add_prefix_space', 'is true, which is not supported')
  }
  const splits = stages.map(toSplit)
  // GPT-2's pattern is part of the stage unless the file says otherwise.
  return last.use_regex === false ? splits : [...splits, split(WORD_PATTERNS.gpt2)]
}

function flatten(value: unknown, field: string): Record<string, unknown>[] {
  const stage = asObject(value, field)
  if (stage.type !== 'Sequence') return [stage]
  if (!Array.isArray(stage.pretokenizers) || stage.pretokenizers.length > 8) {
    refuseTokenizer(`${field}.pretokenizers`, 'is not an array of at most 8 stages')
  }
  return stage.pretokenizers.map((item, i) => asObject(item, `${field}.pretokenizers[${i}]`))
}

function toSplit(stage: Record<string, unknown>): SplitStage {
  if (stage.type === 'Digits' && stage.individual_digits === true) return split(DIGIT)
  if (stage.type !== 'Split') {
    refuseTokenizer(
      'pre_tokenizer',
      `has the stage ${JSON.stringify(stage.type)}, which is not supported`,
    )
  }
  const { Regex: regex } = asObject(stage.pattern, 'pre_tokenizer.pattern')
  if (typeof regex !== 'string' || !KNOWN_PATTERNS.has(regex)) {
    refuseTokenizer('pre_tokenizer.pattern', `${JSON.stringify(regex)} is not a known word pattern`)
  }
  // The known patterns match every character, so dropping what is between the matches drops nothing.
  const keepsMatches =
    stage.behavior === 'Isolated' || (stage.behavior === 'Removed' && stage.invert === true)
  if (!keepsMatches || (regex === DIGIT && stage.behavior !== 'Isolated')) {
    refuseTokenizer(
      'pre_tokenizer.behavior',
      `is ${JSON.stringify(stage.behavior)}, supported is "Isolated"`,
    )
  }
  return split(regex)
}

function split(regex: string): SplitStage {
  return { type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false }
}

/** NFC or nothing: the normalizers of the supported tokenizers. */
export function readNormalizer(tokenizer: TokenizerJson): 'NFC' | null {
  const { normalizer } = tokenizer
  if (normalizer === null || normalizer === undefined) return null
  const { type, normalizers } = asObject(normalizer, 'normalizer')
  if (type === 'NFC') return 'NFC'
  if (type === 'Sequence' && Array.isArray(normalizers) && normalizers.length <= 1) {
    return readNormalizer({ normalizer: normalizers[0] })
  }
  return refuseTokenizer('normalizer', `is ${JSON.stringify(type)}, supported is "NFC"`)
}
