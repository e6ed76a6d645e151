import type { FastifyInstance, FastifyRequest } from 'fastify'
import { ApiError } from './errors.js'

/** Deeper JSON is refused before it is parsed: recursion over it would be a fault of its own. */
export const maxJsonDepth = 64
/** Objects and arrays in one body. A long chat has a few thousand; millions only cost time. */
export const maxJsonContainers = 32_768

/** Makes `application/json` the only body that is read, and reads it with care. */
export function addJsonBodyParser(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'buffer' },
    async (_request: FastifyRequest, bytes: Buffer) => parseJsonBody(bytes),
  )
}

/** The value in the bytes, or an ApiError `invalid_json` that says what is wrong. */
export function parseJsonBody(bytes: Uint8Array): unknown {
  if (bytes.byteLength === 0) throw invalidJson('The body is empty; send a JSON object.')
  refuseExcessiveNesting(bytes)
  const value = parse(decode(bytes))
  refusePrototypes(value)
  return value
}

function invalidJson(message: string): ApiError {
  return new ApiError('invalid_json', message)
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw invalidJson('The body is not valid UTF-8.')
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    const { message } = error as SyntaxError
    const position = /at position \d+/.exec(message)?.[0]
    const where = position ?? (/end of JSON/.test(message) ? 'at its end' : 'somewhere')
    throw invalidJson(`The body is not valid JSON: it breaks ${where}.`)
  }
}

/**
 * One look at each byte, before a parser takes the whole thing apart: brackets outside strings are
 * counted and so is how deep they nest.
 */
function refuseExcessiveNesting(bytes: Uint8Array): void {
  let depth = 0
  let numContainers = 0
  let isInString = false
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]
    if (isInString) {
      if (byte === backslash) i++
      else if (byte === quote) isInString = false
    } else if (byte === quote) {
      isInString = true
    } else if (byte === openBracket || byte === openBrace) {
      depth++
      numContainers++
      if (depth > maxJsonDepth) {
        throw invalidJson(`The body nests deeper than ${maxJsonDepth} levels.`)
      }
      if (numContainers > maxJsonContainers) {
        throw invalidJson(`The body holds more than ${maxJsonContainers} objects and arrays.`)
      }
    } else if (byte === closeBracket || byte === closeBrace) {
      depth--
    }
  }
}

const quote = 0x22
const backslash = 0x5c
const openBracket = 0x5b
const closeBracket = 0x5d
const openBrace = 0x7b
const closeBrace = 0x7d

/** `JSON.parse` makes `__proto__` an own key; the first careless copy would make it a prototype. */
function refusePrototypes(value: unknown): void {
  if (typeof value !== 'object' || value === null) return
  if (Array.isArray(value)) {
    for (const item of value) refusePrototypes(item)
    return
  }
  if (Object.hasOwn(value, '__proto__')) throw invalidJson('The key "__proto__" is not allowed.')
  for (const key of Object.keys(value)) {
    const item = (value as Record<string, unknown>)[key]
    if (key === 'constructor' && typeof item === 'object' && item !== null) {
      if (Object.hasOwn(item, 'prototype')) {
        throw invalidJson('The key "constructor.prototype" is not allowed.')
      }
    }
    refusePrototypes(item)
  }
}
