import type { RenderFence } from './render-fence.js'
import type { ContentShield } from './special-token-guard.js'
import {
  entriesOf,
  itemsOf,
  makeBoolean,
  makeFunction,
  makeInteger,
  makeList,
  makeString,
  type RuntimeValue,
  textOf,
} from './template-values.js'

/**
 * Python's string methods on texts with stand-ins in them: decisions are made on the text as it was
 * written, results are cut out of the text with the stand-ins. Both have the same length, so
 * positions carry over. They replace the interpreter's own, which would see the stand-ins, and which
 * ignore the argument of strip().
 */
export class StringMethods {
  readonly #shield: ContentShield
  readonly #fence: RenderFence

  constructor(shield: ContentShield, fence: RenderFence) {
    this.#shield = shield
    this.#fence = fence
  }

  /** The method as a value that a template can call; undefined if it is not one of these. */
  find(name: string, text: string): RuntimeValue | undefined {
    const call = METHODS.get(name)
    if (call === undefined || name === 'length') return undefined
    return makeFunction((args) => this.#call(call, text, toMethodArguments(args)))
  }

  /** Applies a filter that is a method under the same or another name; undefined if it is none. */
  applyFilter(name: string, text: string, args: MethodArguments): RuntimeValue | undefined {
    const call = METHODS.get(name === 'trim' ? 'strip' : name)
    return call === undefined || !FILTERS.has(name) ? undefined : this.#call(call, text, args)
  }

  #call(method: Method, text: string, args: MethodArguments): RuntimeValue {
    this.#fence.chargeText(text.length)
    const shield = this.#shield
    return method({ text, plain: shield.reveal(text), shield, fence: this.#fence }, new Args(args))
  }
}

interface Subject {
  /** The text with its stand-ins, and as it was written. */
  readonly text: string
  readonly plain: string
  readonly shield: ContentShield
  readonly fence: RenderFence
}

/** Going through a text one character at a time costs this much more than copying it. */
const CHARS_PER_CASE_CHANGE = 8

type Method = (subject: Subject, args: Args) => RuntimeValue

/** Positional arguments and those given by name. */
export interface MethodArguments {
  readonly positional: readonly RuntimeValue[]
  readonly named: ReadonlyMap<string, RuntimeValue>
}

class Args {
  readonly #args: MethodArguments

  constructor(args: MethodArguments) {
    this.#args = args
  }

  get(index: number, name: string): RuntimeValue | undefined {
    const value = this.#args.positional[index] ?? this.#args.named.get(name)
    return value?.type === 'NullValue' ? undefined : value
  }

  text(index: number, name: string): string | undefined {
    const value = this.get(index, name)
    if (value === undefined) return undefined
    return textOf(value) ?? fail(`the argument ${name} of a string method is not a string`)
  }

  number(index: number, name: string): number | undefined {
    const value = this.get(index, name)
    if (value === undefined) return undefined
    if (value.type === 'IntegerValue') return value.value as number
    return fail(`the argument ${name} of a string method is not an integer`)
  }
}

/** A function gets what was given by name as its last argument. */
function toMethodArguments(args: RuntimeValue[]): MethodArguments {
  const last = args.at(-1)
  const named = last?.type === 'KeywordArgumentsValue' ? entriesOf(last) : undefined
  if (named === undefined) return { positional: args, named: new Map() }
  return { positional: args.slice(0, -1), named }
}

function fail(message: string): never {
  throw new Error(message)
}

const METHODS: ReadonlyMap<string, Method> = new Map<string, Method>([
  ['strip', (subject, args) => strip(subject, args.text(0, 'chars'), true, true)],
  ['lstrip', (subject, args) => strip(subject, args.text(0, 'chars'), true, false)],
  ['rstrip', (subject, args) => strip(subject, args.text(0, 'chars'), false, true)],
  ['startswith', (subject, args) => hasAffix(subject, args, 'startsWith')],
  ['endswith', (subject, args) => hasAffix(subject, args, 'endsWith')],
  ['split', split],
  ['replace', replace],
  ['upper', upper],
  ['lower', lower],
  ['capitalize', (subject) => mapCase(subject, (char, i) => toTitleCase(char, i === 0))],
  ['title', title],
  ['length', ({ plain }) => makeInteger([...plain].length)],
])
const FILTERS: ReadonlySet<string> = new Set([
  'trim',
  'upper',
  'lower',
  'capitalize',
  'title',
  'replace',
  'length',
])

/** What Python strips beyond JavaScript's white space; U+FEFF is the other way round. */
const MORE_PYTHON_SPACE = '\u001c\u001d\u001e\u001f\u0085'

function isPythonSpace(char: string): boolean {
  return (/\s/.test(char) && char !== '\ufeff') || MORE_PYTHON_SPACE.includes(char)
}

function strip(subject: Subject, chars: string | undefined, left: boolean, right: boolean) {
  const { text, plain, shield } = subject
  const stripped = chars === undefined ? undefined : shield.reveal(chars)
  const isStripped = (char: string) =>
    stripped === undefined ? isPythonSpace(char) : stripped.includes(char)
  let start = 0
  let end = text.length
  while (left && start < end && isStripped(plain[start]!)) start++
  while (right && end > start && isStripped(plain[end - 1]!)) end--
  return makeString(text.slice(start, end))
}

function hasAffix({ plain, shield }: Subject, args: Args, test: 'startsWith' | 'endsWith') {
  const value = args.get(0, 'prefix')
  const affixes = itemsOf(value) ?? [value]
  return makeBoolean(
    affixes.some((affix) => {
      const text = textOf(affix) ?? fail(`${test.toLowerCase()}() takes strings`)
      return plain[test](shield.reveal(text))
    }),
  )
}

function split(subject: Subject, args: Args): RuntimeValue {
  const { text, plain, shield, fence } = subject
  const separator = args.text(0, 'sep')
  const limit = args.number(1, 'maxsplit') ?? -1
  const maxSplits = limit < 0 ? Number.POSITIVE_INFINITY : limit
  const parts: string[] = []
  if (separator === undefined) {
    splitAtSpace(text, plain, maxSplits, parts)
  } else {
    const plainSeparator = shield.reveal(separator)
    if (plainSeparator === '') fail('split() was given an empty separator')
    let start = 0
    while (parts.length < maxSplits) {
      const end = plain.indexOf(plainSeparator, start)
      if (end < 0) break
      parts.push(text.slice(start, end))
      start = end + plainSeparator.length
    }
    parts.push(text.slice(start))
  }
  fence.chargeItems(parts.length)
  return makeList(parts.map(makeString))
}

/** Runs of white space separate, and there are no empty parts at the ends. */
function splitAtSpace(text: string, plain: string, maxSplits: number, parts: string[]): void {
  let position = plain.length - plain.trimStart().length
  while (position < plain.length) {
    const rest = plain.slice(position)
    const wordLen = parts.length >= maxSplits ? rest.length : rest.search(/\s|$/)
    parts.push(text.slice(position, position + wordLen))
    const after = plain.slice(position + wordLen)
    position = plain.length - after.trimStart().length
  }
}

function replace({ text, plain, shield, fence }: Subject, args: Args): RuntimeValue {
  const from = shield.reveal(args.text(0, 'old') ?? fail('replace() takes two strings'))
  const to = args.text(1, 'new') ?? fail('replace() takes two strings')
  const count = args.number(2, 'count') ?? -1
  const maxReplaced = count < 0 ? Number.POSITIVE_INFINITY : count
  let result = ''
  let position = 0
  for (let numReplaced = 0; numReplaced < maxReplaced; numReplaced++) {
    // An empty string is found before each character and at the end.
    const at = from === '' ? position : plain.indexOf(from, position)
    if (at < 0) break
    result += text.slice(position, at) + to
    position = at + from.length
    if (from === '') {
      if (at === text.length) break
      result += text[at]
      position++
    }
    fence.checkSize(result.length)
  }
  return makeString(result + text.slice(position))
}

function upper(subject: Subject): RuntimeValue {
  if (subject.text === subject.plain) return makeString(subject.plain.toUpperCase())
  return mapCase(subject, (char) => char.toUpperCase())
}

function lower(subject: Subject): RuntimeValue {
  if (subject.text === subject.plain) return makeString(subject.plain.toLowerCase())
  return mapCase(subject, (char) => char.toLowerCase())
}

/** Changes the case of what was written and hides the result again where it was hidden. */
function mapCase(subject: Subject, change: (char: string, i: number) => string): RuntimeValue {
  const { text, plain, shield, fence } = subject
  fence.chargeText(CHARS_PER_CASE_CHANGE * text.length)
  let result = ''
  let i = 0
  for (const char of plain) {
    const changed = change(char, i)
    result += text[i] === plain[i] ? changed : shield.hide(changed)
    i += char.length
  }
  return makeString(result)
}

function title(subject: Subject): RuntimeValue {
  let follows = false
  return mapCase(subject, (char) => {
    const changed = toTitleCase(char, !follows)
    follows = /\p{L}/u.test(char)
    return changed
  })
}

function toTitleCase(char: string, isFirst: boolean): string {
  if (!isFirst) return char.toLowerCase()
  // One letter may become two, of which only the first is upper case: ß gives Ss.
  const [first = '', ...others] = char.toUpperCase()
  return first + others.join('').toLowerCase()
}
