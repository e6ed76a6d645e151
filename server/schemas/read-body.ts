import { isDeepStrictEqual } from 'node:util'
import type { z } from 'zod'
import { ApiError } from '../errors.js'
import type { Field, FieldTable } from './field.js'
import { dottedPath, toApiError } from './issues.js'

/** What happens to keys nobody has heard of. */
export type UnknownParams = 'warn' | 'reject' | 'ignore'

export interface ReadBody<T> {
  readonly body: T
  /** Paths of unknown keys that were left out, in the order in which they were met. */
  readonly unknownParams: readonly string[]
}

/**
 * Judges every key by the table, then checks what is left against the schema. Throws the ApiError
 * for the first thing wrong. Null counts as not given, and nothing is converted.
 */
export function readBody<T>(
  schema: z.ZodType<T>,
  fields: FieldTable,
  value: unknown,
  unknownParams: UnknownParams,
): ReadBody<T> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ApiError('invalid_type', 'The body must be a JSON object.')
  }
  const judge = new Judge(fields, unknownParams)
  const judged = judge.keepSupported(value, '', [])
  const result = schema.safeParse(judged)
  if (!result.success) throw toApiError(result.error.issues[0]!, judged)
  return { body: result.data, unknownParams: [...judge.unknownParams] }
}

type Path = readonly (string | number)[]

class Judge {
  readonly unknownParams = new Set<string>()
  readonly #fields: FieldTable
  /** Paths whose own keys are in the table. */
  readonly #containers: ReadonlySet<string>
  readonly #policy: UnknownParams

  constructor(fields: FieldTable, policy: UnknownParams) {
    this.#fields = fields
    this.#containers = containersOf(fields)
    this.#policy = policy
  }

  /** A copy without what is null, ignored, neutral or unknown. `pattern` is the path in the table. */
  keepSupported(value: unknown, pattern: string, path: Path): unknown {
    if (typeof value !== 'object' || value === null) return value
    if (Array.isArray(value)) {
      const inner = `${pattern}[]`
      if (!this.#containers.has(inner)) return value
      return value.map((item, i) => this.keepSupported(item, inner, [...path, i]))
    }
    if (!this.#containers.has(pattern)) return value

    const entries = Object.entries(value)
    refuseTooManyKeys(entries.length, path)
    const kept: Record<string, unknown> = {}
    for (const [key, item] of entries) {
      if (item === null) continue
      const innerPattern = pattern === '' ? key : `${pattern}.${key}`
      const innerPath = [...path, key]
      const field = this.#fields.get(innerPattern)
      if (field === undefined) this.#meetUnknown(innerPattern, innerPath)
      else if (field.verdict === 'refused') refuseUnlessNeutral(field, item, innerPath)
      else if (field.verdict === 'supported') {
        refuseTooManyEntries(field, item, innerPath)
        kept[key] = this.keepSupported(item, innerPattern, innerPath)
      }
    }
    return kept
  }

  #meetUnknown(pattern: string, path: Path): void {
    if (this.#policy === 'ignore') return
    if (this.#policy === 'reject') {
      const param = dottedPath(path)
      throw new ApiError('unknown_parameter', `Unknown parameter: '${param}'.`, param)
    }
    if (this.unknownParams.size < maxUnknownParams) this.unknownParams.add(pattern)
  }
}

/** Enough to see what is going on, and a bound on what a body full of keys can cause. */
const maxUnknownParams = 16

const containersByTable = new WeakMap<FieldTable, ReadonlySet<string>>()

function containersOf(fields: FieldTable): ReadonlySet<string> {
  let containers = containersByTable.get(fields)
  if (containers === undefined) {
    containers = new Set(
      [...fields.keys()].map((path) => path.slice(0, Math.max(path.lastIndexOf('.'), 0))),
    )
    containersByTable.set(fields, containers)
  }
  return containers
}

function refuseUnlessNeutral(field: Field, value: unknown, path: Path): void {
  if (field.neutral.some((neutral) => isDeepStrictEqual(neutral, value))) return
  const param = dottedPath(path)
  throw new ApiError(
    'unsupported_parameter',
    `Unsupported parameter: '${param}'. ${field.note}${neutralHint(field)}`,
    param,
  )
}

function neutralHint(field: Field): string {
  if (field.neutral.length === 0) return ' Leave it out.'
  const values = field.neutral.map((value) => JSON.stringify(value)).join(' or ')
  return ` Leave it out, or set it to ${values}.`
}

/** More than any client has use for; a body of keys that nobody knows would only cost time. */
const maxKeys = 256

function refuseTooManyKeys(numKeys: number, path: Path): void {
  if (numKeys <= maxKeys) return
  const param = path.length === 0 ? null : dottedPath(path)
  const what = param === null ? 'The body' : `'${param}'`
  throw new ApiError(
    'invalid_value',
    `${what} has ${numKeys} keys; at most ${maxKeys} allowed.`,
    param,
  )
}

/** Before any entry is looked at: a long list of bad entries must not cost more than a short one. */
function refuseTooManyEntries(field: Field, value: unknown, path: Path): void {
  if (typeof value !== 'object' || value === null) return
  const numEntries = Array.isArray(value) ? value.length : Object.keys(value).length
  if (numEntries <= field.maxEntries) return
  const param = dottedPath(path)
  throw new ApiError(
    'invalid_value',
    `Invalid value for '${param}': it has ${numEntries} entries; at most ${field.maxEntries} allowed.`,
    param,
  )
}
