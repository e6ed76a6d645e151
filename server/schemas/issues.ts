import type { z } from 'zod'
import { ApiError, type ErrorCode, excerpt, withoutControls } from '../errors.js'

type Issue = z.core.$ZodIssue
type Path = readonly PropertyKey[]

/** The first thing wrong with a body, as the error that is sent: stable code, dotted path. */
export function toApiError(issue: Issue, body: unknown): ApiError {
  return translate(issue, issue.path, body)
}

/** messages[2].content: the way a reader would write it. */
export function dottedPath(path: Path): string {
  return path
    .map((key) => (typeof key === 'number' ? `[${key}]` : `.${clip(String(key))}`))
    .join('')
    .replace(/^\./, '')
}

/** Keys of logit_bias and unknown ones are the client's own words. */
function clip(key: string): string {
  const text = withoutControls(key.slice(0, 65))
  return text.length <= 64 ? text : `${text.slice(0, 64)}…`
}

function translate(issue: Issue, path: Path, body: unknown): ApiError {
  const value = valueAt(body, path)
  if (value === undefined && issue.code !== 'custom') return missing(path)
  switch (issue.code) {
    case 'invalid_type':
      return wrongType(path, [issue.expected], value)
    case 'too_small':
      return invalid(path, `${amount(issue, value)}; ${atLeast(issue.origin, issue.minimum)}`)
    case 'too_big':
      return invalid(path, `${amount(issue, value)}; ${atMost(issue.origin, issue.maximum)}`)
    case 'invalid_value':
      return wrongChoice(path, issue.values, value)
    case 'invalid_key':
      return invalid(path, 'the keys are token ids, whole numbers from 0 without leading zeros')
    case 'invalid_union':
      return wrongUnion(issue, path, body)
    case 'custom':
      return refusedByRule(issue, path)
    default:
      return invalid(path, `${excerpt(value)} was given`)
  }
}

function missing(path: Path): ApiError {
  const param = dottedPath(path)
  return new ApiError(
    'missing_required_parameter',
    `Missing required parameter: '${param}'.`,
    param,
  )
}

function invalid(path: Path, reason: string): ApiError {
  const param = dottedPath(path)
  return new ApiError('invalid_value', `Invalid value for '${param}': ${reason}.`, param)
}

function wrongType(path: Path, expected: readonly string[], value: unknown): ApiError {
  const isNumberExpected = expected.some((type) => type === 'number' || type === 'int')
  if (isNumberExpected && typeof value === 'number' && !Number.isFinite(value)) {
    return invalid(path, 'the number is too large')
  }
  const param = dottedPath(path)
  const wanted = expected.map((type) => typeNames[type] ?? type).join(' or ')
  const given = typeof value === 'number' ? 'a decimal number' : typeName(value)
  return new ApiError(
    'invalid_type',
    `Invalid type for '${param}': expected ${wanted}, got ${expected.includes('int') ? given : typeName(value)}.`,
    param,
  )
}

const typeNames: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  int: 'an integer',
  boolean: 'a boolean',
  array: 'an array',
  object: 'an object',
  record: 'an object',
  null: 'null',
}

function typeName(value: unknown): string {
  if (value === null) return 'null'
  return typeNames[Array.isArray(value) ? 'array' : typeof value] ?? typeof value
}

function amount(issue: { readonly origin: string }, value: unknown): string {
  switch (issue.origin) {
    case 'string':
      return `it has ${(value as string).length} characters`
    case 'array':
      return `it has ${(value as readonly unknown[]).length} entries`
    default:
      return `${excerpt(value)} was given`
  }
}

function atLeast(origin: string, limit: number | bigint): string {
  return isCounted(origin) ? `at least ${limit} needed` : `the lowest allowed value is ${limit}`
}

function atMost(origin: string, limit: number | bigint): string {
  return isCounted(origin) ? `at most ${limit} allowed` : `the highest allowed value is ${limit}`
}

function isCounted(origin: string): boolean {
  return origin === 'string' || origin === 'array'
}

/** A value outside an enumeration; of the wrong type altogether, or simply not in the list. */
function wrongChoice(path: Path, choices: readonly unknown[], value: unknown): ApiError {
  if (typeof value !== 'string') return wrongType(path, ['string'], value)
  const list = choices.map((choice) => `'${choice}'`).join(', ')
  return invalid(path, `${excerpt(value)} was given; supported values are ${list}`)
}

/** Of the branches of a union, the one that got furthest knows best what is wrong. */
function wrongUnion(issue: z.core.$ZodIssueInvalidUnion, path: Path, body: unknown): ApiError {
  if (issue.discriminator !== undefined) return wrongKind(issue, path, body)
  const branches = issue.errors.flatMap((issues) => issues[0] ?? [])
  const entered = branches.find(
    (branch) => branch.path.length > 0 || branch.code !== 'invalid_type',
  )
  if (entered) return translate(entered, [...path, ...entered.path], body)
  const expected = branches.flatMap((branch) =>
    branch.code === 'invalid_type' ? [branch.expected] : [],
  )
  return wrongType(path, expected, valueAt(body, path))
}

const otherModalities = new Set([
  'image',
  'image_url',
  'input_image',
  'input_audio',
  'audio_url',
  'file',
  'input_file',
  'video',
  'video_url',
])

/** The value that tells the shapes of an object apart is wrong: a role, or the type of a part. */
function wrongKind(issue: z.core.$ZodIssueInvalidUnion, path: Path, body: unknown): ApiError {
  const parent = path.slice(0, -1)
  const value = valueAt(body, path)
  if (issue.discriminator === 'type' && otherModalities.has(String(value))) {
    const param = dottedPath(parent)
    return new ApiError(
      'unsupported_content_type',
      `'${param}' is of type '${value}', and this model reads text only. Send text parts.`,
      param,
    )
  }
  const options = (issue as { options?: readonly unknown[] }).options ?? []
  return wrongChoice(path, options, value)
}

/** Rules of our own carry their code (shapes.ts). */
function refusedByRule(issue: z.core.$ZodIssueCustom, path: Path): ApiError {
  const param = dottedPath(path)
  const code = (issue.params?.code ?? 'invalid_value') as ErrorCode
  const openings: Partial<Record<ErrorCode, string>> = {
    invalid_type: 'Invalid type for',
    missing_required_parameter: 'Missing required parameter',
  }
  return new ApiError(
    code,
    `${openings[code] ?? 'Invalid value for'} '${param}': ${issue.message}.`,
    param,
  )
}

function valueAt(body: unknown, path: Path): unknown {
  let value = body
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
    value = (value as Record<PropertyKey, unknown>)[key]
  }
  return value
}
