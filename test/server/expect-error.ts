import type { Test } from 'tap'
import { catalogue, type ErrorCode } from '../../server/errors.js'
import type { Answer } from './app-under-test.js'

/** The answer is this error, whole: status, four keys, type of the catalogue, nothing internal. */
export function expectError(
  t: Test,
  answer: Answer,
  code: ErrorCode,
  param: string | null,
  label = '',
): void {
  const { status, type } = catalogue[code]
  const error = answer.body.error as Record<string, unknown> | undefined
  const wireCode = code === 'invalid_json' ? null : code
  t.strictSame(
    { status: answer.status, type: error?.type, code: error?.code, param: error?.param },
    { status, type, code: wireCode, param },
    label,
  )
  t.match(error?.message, /^[^\n]{10,500}$/, `${label}: a sentence`)
  t.notMatch(error?.message, /\bat .*:\d+:\d+|node_modules|0x[0-9a-f]{4}/, `${label}: no internals`)
}
