import { Tokenizer as HubTokenizer } from '@huggingface/tokenizers'
import type { TextAssets } from '../model/model-description.js'
import { PairMerger } from './pair-merger.js'
import { readNormalizer, readPreTokenizer } from './pre-tokenizer.js'
import type { ContentShield } from './special-token-guard.js'
import {
  type AddedToken,
  asObject,
  readMerges,
  readTokenizer,
  refuseTokenizer,
  type TokenizerJson,
} from './tokenizer-file.js'

/**
 * Text to token ids, the same ids as the Rust library gives for the same tokenizer.json.
 *
 * Normalizing and splitting into words is the work of @huggingface/tokenizers; merging is ours (see
 * PairMerger), and so is finding added tokens, because what counts as one depends on who wrote it.
 */
export class Tokenizer {
  /** Added tokens that only the chat template may write. */
  readonly controlTokens: readonly AddedToken[]
  readonly #splitter: TextSplitter
  readonly #merger: PairMerger
  readonly #control: TokenFinder
  readonly #words: TokenFinder
  readonly #prefixIds: readonly number[]
  readonly #suffixIds: readonly number[]

  /** Throws ModelFileError where the tokenizer is broken or of a kind that is not supported. */
  constructor(assets: TextAssets) {
    const { tokenizer } = assets
    const { vocab, addedTokens } = readTokenizer(tokenizer)
    this.controlTokens = addedTokens.filter((token) => token.isControl)
    this.#control = new TokenFinder(this.controlTokens)
    this.#words = new TokenFinder(addedTokens.filter((token) => !token.isControl))
    const controlIds = new Set(this.controlTokens.map((token) => token.id))
    this.#merger = new PairMerger(vocab, readMerges(tokenizer, vocab), controlIds)
    this.#splitter = makeSplitter(tokenizer)
    const affixes = readAffixes(tokenizer, addedTokens, vocab)
    this.#prefixIds = affixes.prefixIds
    this.#suffixIds = affixes.suffixIds
  }

  /**
   * Tokenizes text that somebody wrote: what looks like a control token in it is plain text. The
   * tokens that the tokenizer puts around a text (BOS) are added.
   */
  encodeText(text: string): Int32Array {
    const out = [...this.#prefixIds]
    this.#encodeWords(text, out)
    out.push(...this.#suffixIds)
    return Int32Array.from(out)
  }

  /**
   * Tokenizes a rendered chat. Control tokens are looked for in the shielded text, where only those
   * that the template wrote can be found; the text between two of them is tokenized as a whole.
   */
  encodeShielded(shieldedText: string, shield: ContentShield): Int32Array {
    const out: number[] = []
    for (const section of this.#control.split(shieldedText)) {
      if (typeof section === 'number') out.push(section)
      else this.#encodeWords(shield.reveal(section), out)
    }
    return Int32Array.from(out)
  }

  #encodeWords(text: string, out: number[]): void {
    for (const section of this.#words.split(text)) {
      if (typeof section === 'number') {
        out.push(section)
        continue
      }
      const { normalizer, pre_tokenizer: preTokenizer } = this.#splitter
      const normalized = normalizer === null ? section : normalizer.normalize(section)
      if (normalized === '') continue
      for (const word of preTokenizer.pre_tokenize(normalized)) this.#merger.encode(word, out)
    }
  }
}

/** Cuts text at added tokens: the longest at the leftmost place. */
class TokenFinder {
  readonly #pattern: RegExp | undefined
  readonly #tokens: ReadonlyMap<string, AddedToken>

  constructor(tokens: readonly AddedToken[]) {
    this.#tokens = new Map(tokens.map((token) => [token.content, token]))
    if (tokens.length === 0) return
    const contents = [...this.#tokens.keys()].sort((a, b) => b.length - a.length)
    this.#pattern = new RegExp(contents.map(escapeRegExp).join('|'), 'gu')
  }

  /** Texts and token ids in order; no text is empty. */
  split(text: string): (string | number)[] {
    if (this.#pattern === undefined) return text === '' ? [] : [text]
    const sections: (string | number)[] = []
    let position = 0
    let stripsNext = false
    const add = (end: number, stripsEnd: boolean) => {
      let section = text.slice(position, end)
      if (stripsNext) section = section.trimStart()
      if (stripsEnd) section = section.trimEnd()
      if (section !== '') sections.push(section)
    }
    for (const match of text.matchAll(this.#pattern)) {
      const token = this.#tokens.get(match[0])!
      add(match.index, token.stripsLeft)
      sections.push(token.id)
      position = match.index + match[0].length
      stripsNext = token.stripsRight
    }
    add(text.length, false)
    return sections
  }
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')
}

/** The parts of the library that are used; its own declarations do not resolve under Node's rules. */
interface TextSplitter {
  readonly normalizer: { normalize(text: string): string } | null
  readonly pre_tokenizer: { pre_tokenize(text: string): string[] }
}

/** The library's normalizer and word splitter, without a vocabulary. */
function makeSplitter(tokenizer: TokenizerJson): TextSplitter {
  const normalizer = readNormalizer(tokenizer)
  return new HubTokenizer(
    {
      added_tokens: [],
      normalizer: normalizer === null ? null : { type: normalizer },
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: readPreTokenizer(tokenizer),
      },
      post_processor: null,
      decoder: null,
      model: { type: 'BPE', vocab: {}, merges: [] },
    },
    {},
  ) as TextSplitter
}

interface Affixes {
  readonly prefixIds: number[]
  readonly suffixIds: number[]
}

/** What the post-processor puts before and behind a single text. */
function readAffixes(
  tokenizer: TokenizerJson,
  addedTokens: readonly AddedToken[],
  vocab: ReadonlyMap<string, number>,
): Affixes {
  const affixes: Affixes = { prefixIds: [], suffixIds: [] }
  const { post_processor: postProcessor } = tokenizer
  if (postProcessor === null || postProcessor === undefined) return affixes
  const first = asObject(postProcessor, 'post_processor')
  const stages = first.type === 'Sequence' ? first.processors : [first]
  if (!Array.isArray(stages)) refuseTokenizer('post_processor.processors', 'is not an array')
  for (const item of stages) {
    const stage = asObject(item, 'post_processor')
    if (stage.type === 'ByteLevel') continue
    if (stage.type !== 'TemplateProcessing' || !Array.isArray(stage.single)) {
      refuseTokenizer(
        'post_processor',
        `is ${JSON.stringify(stage.type)}, supported are "TemplateProcessing" and "ByteLevel"`,
      )
    }
    let ids = affixes.prefixIds
    for (const piece of stage.single) {
      const { SpecialToken: special, Sequence: text } = asObject(piece, 'post_processor.single')
      if (text !== undefined) ids = affixes.suffixIds
      else ids.push(findToken(asObject(special, 'post_processor.single').id, addedTokens, vocab))
    }
  }
  return affixes
}

function findToken(
  name: unknown,
  addedTokens: readonly AddedToken[],
  vocab: ReadonlyMap<string, number>,
): number {
  const id =
    addedTokens.find((token) => token.content === name)?.id ??
    (typeof name === 'string' ? vocab.get(name) : undefined)
  return (
    id ??
    refuseTokenizer('post_processor.single', `uses ${JSON.stringify(name)}, which is not a token`)
  )
}
