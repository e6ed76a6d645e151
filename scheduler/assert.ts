/**
 * Throws a plain Error when something that must be true is not: a bug of ours, never a mistake of
 * a client. `value` is appended to the message, so that a hot path builds no string in advance.
 */
export function assert(condition: boolean, message: string, value?: number): asserts condition {
  if (condition) return
  throw new Error(value === undefined ? message : `${message}: ${value}`)
}
