import { invalidPrompt } from '../errors.js'
import { refuseTokenizer } from './tokenizer-file.js'

const FIRST_IMAGE = 0xe000
const NUM_IMAGES = 0x1900
const ANY_IMAGE = /[\ue000-\uf8ff]/

/** Both ways between characters of a user's text and their stand-ins. */
export interface ContentShield {
  /** Replaces each character that occurs in a control token; every character stays one character. */
  hide(text: string): string
  /** The text again as it was written. */
  reveal(text: string): string
}

/** Leaves everything as it is: for rendering what is only compared, never tokenized. */
export const NO_SHIELD: ContentShield = { hide: (text) => text, reveal: (text) => text }

/**
 * Keeps what users write from becoming control tokens.
 *
 * Before a chat is rendered, each character of the messages that occurs in any control token is
 * replaced by a private-use character that occurs nowhere else in this chat. A control token found
 * in the rendered text is then made of the template's own characters alone, whatever the template
 * did with the messages: trim, cut, join, quote or put together. Outside of control tokens the
 * characters are put back before tokenizing, so the ids of honest text do not change.
 *
 * White space and what JSON escapes (quotation marks, backslashes, control characters) is never
 * replaced, because filters look at it; a token of only those is refused at load.
 */
export class SpecialTokenGuard {
  readonly #hiddenChars: readonly string[]
  readonly #reserved: ReadonlySet<number>
  readonly #usual: ContentShield

  /** `templateText` is all text that the template may write: its private-use characters are left alone. */
  constructor(controlTokens: readonly string[], templateText: string) {
    this.#hiddenChars = findHiddenChars(controlTokens)
    this.#reserved = privateUseCharsOf(templateText)
    this.#usual = this.#makeShield(this.#reserved)
  }

  /** A shield for these texts. Throws invalid_prompt if they leave too few private-use characters. */
  shieldFor(texts: readonly string[]): ContentShield {
    if (!texts.some((text) => ANY_IMAGE.test(text))) return this.#usual
    const taken = new Set(this.#reserved)
    for (const text of texts) for (const char of privateUseCharsOf(text)) taken.add(char)
    return this.#makeShield(taken)
  }

  #makeShield(taken: ReadonlySet<number>): ContentShield {
    const images: number[] = []
    for (let i = 0; i < NUM_IMAGES && images.length < this.#hiddenChars.length; i++) {
      if (!taken.has(FIRST_IMAGE + i)) images.push(FIRST_IMAGE + i)
    }
    if (images.length < this.#hiddenChars.length) {
      throw invalidPrompt(
        `The messages use ${taken.size} of the ${NUM_IMAGES} private-use characters (U+E000 to ` +
          `U+F8FF); at most ${NUM_IMAGES - this.#hiddenChars.length} can be told apart. Remove some.`,
      )
    }
    const codes = this.#hiddenChars.map((char) => char.charCodeAt(0))
    const hidden = new CharMap(codes, images)
    const revealed = new CharMap(images, codes)
    return {
      hide: (text) => hidden.apply(text),
      // Most strings of a template have nothing hidden in them.
      reveal: (text) => (ANY_IMAGE.test(text) ? revealed.apply(text) : text),
    }
  }
}

/** Replaces UTF-16 units one by one. */
class CharMap {
  readonly #table = new Uint16Array(65_536)

  constructor(from: readonly number[], to: readonly number[]) {
    for (let i = 0; i < 65_536; i++) this.#table[i] = i
    from.forEach((code, i) => {
      this.#table[code] = to[i]!
    })
  }

  apply(text: string): string {
    const units = new Uint16Array(text.length)
    for (let i = 0; i < text.length; i++) units[i] = this.#table[text.charCodeAt(i)]!
    return Buffer.from(units.buffer).toString('utf16le')
  }
}

function findHiddenChars(controlTokens: readonly string[]): string[] {
  const inTokens = new Set<string>()
  for (const token of controlTokens) {
    const chars = [...token].filter(canBeHidden)
    for (const char of chars) inTokens.add(char)
    if (chars.length > 0) continue
    refuseTokenizer(
      'added_tokens',
      `${JSON.stringify(token)} has no character by which it could be told from a user's text`,
    )
  }
  // A template may change the case of a message: what can turn into such a character is hidden too.
  const hidden = new Set(inTokens)
  for (let code = 0; code < 0xd800; code++) {
    const char = String.fromCharCode(code)
    if (canBeHidden(char) && caseVariants(char).some((variant) => inTokens.has(variant))) {
      hidden.add(char)
    }
  }
  if (hidden.size > NUM_IMAGES / 2) {
    refuseTokenizer(
      'added_tokens',
      `use ${hidden.size} different characters, the limit is ${NUM_IMAGES / 2}`,
    )
  }
  return [...hidden]
}

/** All characters that changes of case, one after the other, can make of one: ß gives S and s. */
function caseVariants(char: string): string[] {
  const variants = [char]
  for (const variant of variants) {
    for (const next of variant.toUpperCase() + variant.toLowerCase()) {
      if (!variants.includes(next)) variants.push(next)
    }
  }
  return variants
}

function canBeHidden(char: string): boolean {
  return char.length === 1 && !/[\s"\\\p{C}]/u.test(char)
}

function privateUseCharsOf(text: string): Set<number> {
  const found = new Set<number>()
  if (!ANY_IMAGE.test(text)) return found
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code >= FIRST_IMAGE && code < FIRST_IMAGE + NUM_IMAGES) found.add(code)
  }
  return found
}
