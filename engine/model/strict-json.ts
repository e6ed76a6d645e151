import { isUtf8 } from 'node:buffer'
import { ModelFileError } from './model-description.js'

/** No config, header or tokenizer in use is nested deeper than a dozen levels. */
export const MAX_JSON_DEPTH = 64

export type JsonObject = Record<string, unknown>

/**
 * Parses bytes that must be one JSON object: UTF-8, no key twice in any object, at most
 * MAX_JSON_DEPTH levels. JSON.parse would keep the last of two equal keys in silence, and two
 * readers that keep different ones disagree about where a tensor lies.
 */
export function parseJsonObject(bytes: Buffer, path: string, field: string): JsonObject {
  if (!isUtf8(bytes)) throw new ModelFileError(path, field, 'is not valid UTF-8')
  const text = bytes.toString('utf8')
  const problem = findProblem(text)
  if (problem !== undefined) throw new ModelFileError(path, field, problem)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new ModelFileError(path, field, `is not valid JSON: ${(error as Error).message}`)
  }
  if (!isJsonObject(value)) throw new ModelFileError(path, field, 'is not a JSON object')
  return value
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

/**
 * Too deep, or a key twice? The text need not be valid: what this pass misreads in a broken text,
 * JSON.parse refuses afterwards. A string followed by a colon is a key.
 */
function findProblem(text: string): string | undefined {
  // The keys of each open object, null for an open array.
  const open: (Set<string> | null)[] = []
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === QUOTE) {
      const end = stringEnd(text, i)
      const keys = open.at(-1)
      if (keys && isFollowedByColon(text, end)) {
        const key = text.slice(i, end)
        if (keys.has(unescapeKey(key))) return `has the key ${key.slice(0, 200)} twice`
        keys.add(unescapeKey(key))
      }
      i = end - 1
    } else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      open.push(code === OPEN_BRACE ? new Set() : null)
      if (open.length > MAX_JSON_DEPTH) return `is nested deeper than ${MAX_JSON_DEPTH} levels`
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      open.pop()
    }
  }
  return undefined
}

/** Index behind the closing quote of the string that opens at `start`. */
function stringEnd(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === BACKSLASH) i++
    else if (code === QUOTE) return i + 1
  }
  return text.length
}

function isFollowedByColon(text: string, index: number): boolean {
  let i = index
  while (' \t\r\n'.includes(text[i] ?? '.')) i++
  return text[i] === ':'
}

/** Two spellings of one key ("a" and "\u0061") are the same key. */
function unescapeKey(quoted: string): string {
  if (!quoted.includes('\\')) return quoted.slice(1, -1)
  try {
    return JSON.parse(quoted) as string
  } catch {
    return quoted
  }
}
