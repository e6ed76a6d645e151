import type { Delta, Finish } from './generate-request.js'

/**
 * Between a core that never waits and a reader that may be slow: at most one delta is pending, and
 * what comes while it waits is merged into it. One reader.
 */
export class DeltaBuffer implements AsyncIterableIterator<Delta> {
  readonly #onReturn: () => void
  #pending: Delta | undefined
  #end: { readonly error?: unknown } | undefined
  #wake: (() => void) | undefined

  /** `onReturn` is called when the reader goes away before the end. */
  constructor(onReturn: () => void) {
    this.#onReturn = onReturn
  }

  /** Characters that wait for the reader. */
  get pendingLen(): number {
    return this.#pending?.text.length ?? 0
  }

  /** The delta that carries `finish` is the last one. Ignored after the end. */
  push(text: string, numTokens: number, finish?: Finish): void {
    if (this.#end !== undefined) return
    const delta = {
      text: (this.#pending?.text ?? '') + text,
      numTokens: (this.#pending?.numTokens ?? 0) + numTokens,
    }
    this.#pending = finish === undefined ? delta : { ...delta, finish }
    if (finish !== undefined) this.#end = {}
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
    if (this.#end !== undefined && this.#pending === undefined) return
    this.#pending = undefined
    this.#end = { error: reason }
    this.#wake?.()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<Delta, undefined>> {
    while (this.#pending === undefined && this.#end === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#wake = undefined
    }
    const delta = this.#pending
    if (delta !== undefined) {
      this.#pending = undefined
      return { done: false, value: delta }
    }
    const end = this.#end
    this.#end = {}
    if (end !== undefined && 'error' in end) throw end.error
    return { done: true, value: undefined }
  }

  async return(): Promise<IteratorResult<Delta, undefined>> {
    this.#pending = undefined
    this.#end = {}
    this.#onReturn()
    return { done: true, value: undefined }
  }
}
