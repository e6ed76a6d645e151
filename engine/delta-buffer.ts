import type { Delta, Usage } from './generate-request.js'

/** A delta that waits, and grows while it does. */
type PendingDelta = { -readonly [K in keyof Delta]: Delta[K] }

/**
 * Between a core that never waits and a reader that may be slow: at most one delta of each choice
 * is pending, and what comes while it waits is merged into it. One reader.
 */
export class DeltaBuffer implements AsyncIterableIterator<Delta> {
  readonly #onReturn: () => void
  /** By choice; whose text has waited longest comes first. */
  readonly #pending = new Map<number, PendingDelta>()
  #end: { readonly error?: unknown; readonly usage?: Usage } | undefined
  #wake: (() => void) | undefined

  /** `onReturn` is called when the reader goes away before the end. */
  constructor(onReturn: () => void) {
    this.#onReturn = onReturn
  }

  /** Characters of a choice that wait for the reader. */
  pendingLen(choice: number): number {
    return this.#pending.get(choice)?.text.length ?? 0
  }

  /** With `usage` this was the last delta of the last choice. Ignored after the end. */
  push(delta: Omit<Delta, 'usage'>, usage?: Usage): void {
    if (this.#end !== undefined) return
    const { choice, text, numTokens, finish } = delta
    const pending = this.#pending.get(choice) ?? { choice, text: '', numTokens: 0 }
    pending.text += text
    pending.numTokens += numTokens
    if (finish !== undefined) pending.finish = finish
    this.#pending.set(choice, pending)
    if (usage !== undefined) this.#end = { usage }
    this.#wake?.()
  }

  /** What waits is still delivered, then the reader gets the error. */
  fail(error: unknown): void {
    if (this.#end !== undefined) return
    this.#end = { error }
    this.#wake?.()
  }

  /** What waits is dropped: nobody wants it any more. */
  cancel(reason: unknown): void {
    if (this.#end !== undefined && this.#pending.size === 0) return
    this.#pending.clear()
    this.#end = { error: reason }
    this.#wake?.()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<Delta, undefined>> {
    while (this.#pending.size === 0 && this.#end === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#wake = undefined
    }
    for (const [choice, delta] of this.#pending) {
      this.#pending.delete(choice)
      // Whatever finished last: the one that is read last tells the counts.
      if (this.#pending.size === 0 && this.#end?.usage !== undefined) delta.usage = this.#end.usage
      return { done: false, value: delta }
    }
    const end = this.#end
    this.#end = {}
    if (end !== undefined && 'error' in end) throw end.error
    return { done: true, value: undefined }
  }

  async return(): Promise<IteratorResult<Delta, undefined>> {
    this.#pending.clear()
    this.#end = {}
    this.#onReturn()
    return { done: true, value: undefined }
  }
}
