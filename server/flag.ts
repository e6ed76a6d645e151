import { findNearest } from './nearest.js'

/** One setting of the command line and, as KVASIR_*, of the environment. */
export interface Flag<T> {
  /** What stands behind the flag in the help; null for a switch. */
  readonly placeholder: string | null
  readonly help: string
  readonly default: T
  /** Throws a BadValue whose message goes on the sentence "--flag VALUE: ...". */
  parse(text: string): T
}

export type FlagTable = Readonly<Record<string, Flag<unknown>>>

/** The values of a table's flags, under the same names. */
export type FlagValues<F extends FlagTable> = {
  readonly [K in keyof F]: F[K] extends Flag<infer T> ? T : never
}

/** Why a value was refused, without the flag's name. */
export class BadValue extends Error {
  override readonly name = 'BadValue'
}

export function text<D extends string | undefined>(
  placeholder: string,
  initial: D,
  help: string,
): Flag<string | D> {
  return {
    placeholder,
    help,
    default: initial,
    parse: (given) => {
      if (given === '') throw new BadValue('it is empty')
      return given
    },
  }
}

/** Several values with commas between them. */
export function list(placeholder: string, help: string): Flag<readonly string[]> {
  return {
    placeholder,
    help,
    default: [],
    parse: (given) => {
      const items = given.split(',').map((item) => item.trim())
      if (items.includes('')) throw new BadValue('it holds an empty entry')
      return items
    },
  }
}

export function integer<D extends number | undefined>(
  initial: D,
  range: { readonly min: number; readonly max: number },
  help: string,
): Flag<number | D> {
  const { min, max } = range
  return {
    placeholder: 'N',
    help,
    default: initial,
    parse: (given) => {
      const value = /^\d+$/.test(given) ? Number(given) : Number.NaN
      if (value >= min && value <= max) return value
      throw new BadValue(`expected a whole number from ${min} to ${max}`)
    },
  }
}

export function choice<const C extends string>(
  initial: C,
  choices: readonly C[],
  help: string,
): Flag<C> {
  return {
    placeholder: choices.join('|'),
    help,
    default: initial,
    parse: (given) => {
      const found = choices.find((one) => one === given)
      if (found !== undefined) return found
      const nearest = findNearest(given, choices)
      const hint = nearest === undefined ? '' : `; did you mean ${nearest}?`
      throw new BadValue(`expected ${choices.join(', ')}${hint}`)
    },
  }
}

export function toggle(help: string): Flag<boolean> {
  return {
    placeholder: null,
    help,
    default: false,
    parse: (given) => {
      const word = given.toLowerCase()
      if (['1', 'true', 'yes', 'on'].includes(word)) return true
      if (['0', 'false', 'no', 'off'].includes(word)) return false
      throw new BadValue('expected 1 or 0')
    },
  }
}

/** A share of something: above 0, at most 1. */
export function fraction(initial: number, help: string): Flag<number> {
  return {
    placeholder: 'SHARE',
    help,
    default: initial,
    parse: (given) => {
      const value = /^(0?\.\d+|[01](\.0*)?)$/.test(given) ? Number(given) : Number.NaN
      if (value > 0 && value <= 1) return value
      throw new BadValue('expected a number above 0 and at most 1, such as 0.9')
    },
  }
}

const byteUnits: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
}

/** A size: 512MiB, 2GB, 1.5GiB or plain bytes. */
export function bytes(help: string): Flag<number | undefined> {
  return {
    placeholder: 'SIZE',
    help,
    default: undefined,
    parse: (given) => {
      const [, amount, unit] = /^(\d+(?:\.\d+)?) ?([A-Za-z]*)$/.exec(given) ?? []
      const factor = byteUnits[unit?.toUpperCase() ?? '?']
      const value = Math.floor(Number(amount) * (factor ?? Number.NaN))
      if (value >= 1 && Number.isSafeInteger(value)) return value
      throw new BadValue('expected a size such as 512MiB, 2GB or a number of bytes')
    },
  }
}

const durationUnits: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }
/** Timers hold 31 bits of milliseconds. */
const maxDurationMs = 2 ** 31 - 1

/** A time in milliseconds: 30s, 500ms, 2m. */
export function duration(initialMs: number, help: string): Flag<number> {
  return {
    placeholder: 'TIME',
    help,
    default: initialMs,
    parse: (given) => {
      const [, amount, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(given) ?? []
      const value = Math.round(Number(amount) * (durationUnits[unit ?? ''] ?? Number.NaN))
      if (value <= maxDurationMs) return value
      const hint = /^\d+$/.test(given) ? `; did you mean ${given}s?` : ''
      throw new BadValue(`expected a time such as 30s, 500ms or 2m${hint}`)
    },
  }
}
