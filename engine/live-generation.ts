import { DeltaBuffer } from './delta-buffer.js'
import { engineFailed } from './errors.js'
import { stepFinish } from './frames-from-core.js'
import { encodeSubmit, type Submission } from './frames-to-core.js'
import type { FinishReason, Generation } from './generate-request.js'
import type { GenerationText } from './generation-text.js'

/**
 * Characters that may wait for a reader. A reader this far behind has stopped reading: the answer
 * is ended rather than kept for it.
 */
const maxPendingLen = 256 * 1024

export interface LiveGenerationHooks {
  /** The first token is there. */
  readonly onFirstToken: () => void
  /** Called once: no more tokens are wanted. `isCoreDone` if the core has ended it as well. */
  readonly onEnd: (isCoreDone: boolean) => void
}

/** One request between the core's tokens and the reader's deltas. */
export class LiveGeneration implements Generation {
  readonly id: number
  readonly numPromptTokens: number
  readonly deltas: DeltaBuffer
  readonly #submission: Submission
  readonly #text: GenerationText
  readonly #hooks: LiveGenerationHooks
  #numCompletionTokens = 0
  #numCachedTokens = 0
  #numSubmits = 0
  #hasEnded = false

  constructor(submission: Submission, text: GenerationText, hooks: LiveGenerationHooks) {
    this.id = submission.id
    this.numPromptTokens = submission.promptTokenIds.length
    this.#submission = submission
    this.#text = text
    this.#hooks = hooks
    this.deltas = new DeltaBuffer(() => this.#end(false))
  }

  /** Whether a new core may start it over: nothing was shown yet, and it was not in two deaths. */
  get canBeResubmitted(): boolean {
    return this.#numCompletionTokens === 0 && this.#numSubmits < 2
  }

  /** The frame that hands it to a core; counted. */
  takeSubmitFrame(): Buffer {
    this.#numSubmits++
    return encodeSubmit(this.#submission)
  }

  /** One entry of a step. `finish` is a value of stepFinish. */
  receiveToken(tokenId: number, finish: number, numCachedTokens: number): void {
    if (this.#hasEnded) return
    if (finish === stepFinish.failed) {
      this.#endWith(true, engineFailed('The model gave no usable numbers for this request.'))
      return
    }
    if (this.#numCompletionTokens === 0) {
      this.#numCachedTokens = numCachedTokens
      this.#hooks.onFirstToken()
    }
    this.#numCompletionTokens++
    // The token that ends an answer is counted, and its text is not shown.
    const { text, matched } = finish === stepFinish.stop ? { text: '' } : this.#text.push(tokenId)
    const isCoreDone = finish !== stepFinish.none
    if (matched !== undefined) this.#finish(text, 'stop', isCoreDone, matched)
    else if (isCoreDone) this.#finishWithRest(text, finish)
    else this.#push(text)
  }

  /** The reader gets what there is, then the error. */
  fail(error: unknown): void {
    this.#endWith(true, error)
  }

  /** The core has refused it or is gone: nothing needs to be told to it. */
  #endWith(isCoreDone: boolean, error: unknown): void {
    this.deltas.fail(error)
    this.#end(isCoreDone)
  }

  /** The reader has gone: what waits is dropped and the reader, if it asks, gets the reason. */
  cancel(reason: unknown): void {
    this.deltas.cancel(reason)
    this.#end(false)
  }

  #push(text: string): void {
    this.deltas.push(text, 1)
    if (this.deltas.pendingLen <= maxPendingLen) return
    const message = `More than ${maxPendingLen} characters of this answer were not read.`
    this.#endWith(false, engineFailed(message))
  }

  #finishWithRest(text: string, finish: number): void {
    const rest = this.#text.finish()
    const reason = finish === stepFinish.stop || rest.matched !== undefined ? 'stop' : 'length'
    this.#finish(text + rest.text, reason, true, rest.matched)
  }

  #finish(text: string, reason: FinishReason, isCoreDone: boolean, stopString?: string): void {
    const usage = {
      numPromptTokens: this.numPromptTokens,
      numCachedTokens: this.#numCachedTokens,
      numCompletionTokens: this.#numCompletionTokens,
    }
    const finish = stopString === undefined ? { reason, usage } : { reason, stopString, usage }
    this.deltas.push(text, 1, finish)
    this.#end(isCoreDone)
  }

  #end(isCoreDone: boolean): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#hooks.onEnd(isCoreDone)
  }
}
