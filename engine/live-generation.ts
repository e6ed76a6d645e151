import { DeltaBuffer } from './delta-buffer.js'
import { engineFailed, queueTimeout } from './errors.js'
import { stepFinish } from './frames-from-core.js'
import { encodeSubmit, type Submission } from './frames-to-core.js'
import type { Finish, FinishReason, Generation } from './generate-request.js'
import type { GenerationText } from './generation-text.js'

/**
 * Characters of one choice that may wait for a reader. A reader this far behind has stopped
 * reading: the answer is ended rather than kept for it.
 */
const maxPendingLen = 256 * 1024

export interface LiveGenerationHooks {
  /** The text side of one choice. */
  readonly makeText: () => GenerationText
  /** The first token of the first choice is there. */
  readonly onFirstToken: () => void
  /** A sequence has ended. `isCoreDone` if the core has ended it, too, and need not be told. */
  readonly onChoiceEnd: (id: number, isCoreDone: boolean) => void
  /** Called once, behind the last choice's end. */
  readonly onEnd: () => void
}

interface LiveChoice {
  readonly text: GenerationText
  hasEnded: boolean
}

/** One request, with its choices, between the core's tokens and the reader's deltas. */
export class LiveGeneration implements Generation {
  readonly numPromptTokens: number
  readonly deltas: DeltaBuffer
  readonly #submission: Submission
  readonly #hooks: LiveGenerationHooks
  readonly #choices: readonly LiveChoice[]
  #numLive: number
  #numCompletionTokens = 0
  #numCachedTokens = 0
  #numSubmits = 0

  constructor(submission: Submission, hooks: LiveGenerationHooks) {
    this.numPromptTokens = submission.promptTokenIds.length
    this.#submission = submission
    this.#hooks = hooks
    this.#numLive = submission.numChoices
    this.#choices = Array.from({ length: submission.numChoices }, () => {
      return { text: hooks.makeText(), hasEnded: false }
    })
    this.deltas = new DeltaBuffer(() => this.#endAll(false))
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

  /** One entry of a step: of the sequence `id`. `finish` is a value of stepFinish. */
  receiveToken(id: number, tokenId: number, finish: number, numCachedTokens: number): void {
    const index = id - this.#submission.id
    const choice = this.#choices[index]
    if (choice === undefined || choice.hasEnded) return
    if (finish === stepFinish.failed || finish === stepFinish.queue_timeout) {
      // It was ended over there; the others are told.
      this.#endChoice(index, true)
      const isLate = finish === stepFinish.queue_timeout
      const message = 'The model gave no usable numbers for this request.'
      this.#failAndEnd(isLate ? queueTimeout() : engineFailed(message), false)
      return
    }
    if (this.#numCompletionTokens === 0) this.#hooks.onFirstToken()
    if (index === 0) this.#numCachedTokens = numCachedTokens
    this.#numCompletionTokens++
    // The token that ends an answer is counted, and its text is not shown.
    const { text, matched } = finish === stepFinish.stop ? { text: '' } : choice.text.push(tokenId)
    const isCoreDone = finish !== stepFinish.none
    if (matched !== undefined) this.#finish(index, text, 'stop', isCoreDone, matched)
    else if (isCoreDone) this.#finishWithRest(index, text, finish)
    else this.#push(index, text)
  }

  /** The core has refused it or is gone: the reader gets what there is, then the error. */
  fail(error: unknown): void {
    this.#failAndEnd(error, true)
  }

  /** The reader has gone: what waits is dropped and the reader, if it asks, gets the reason. */
  cancel(reason: unknown): void {
    this.deltas.cancel(reason)
    this.#endAll(false)
  }

  #failAndEnd(error: unknown, isCoreDone: boolean): void {
    this.deltas.fail(error)
    this.#endAll(isCoreDone)
  }

  #push(choice: number, text: string): void {
    this.deltas.push({ choice, text, numTokens: 1 })
    if (this.deltas.pendingLen(choice) <= maxPendingLen) return
    const message = `More than ${maxPendingLen} characters of this answer were not read.`
    this.#failAndEnd(engineFailed(message), false)
  }

  #finishWithRest(choice: number, text: string, finish: number): void {
    const rest = this.#choices[choice]!.text.finish()
    const reason = finish === stepFinish.stop || rest.matched !== undefined ? 'stop' : 'length'
    this.#finish(choice, text + rest.text, reason, true, rest.matched)
  }

  #finish(
    choice: number,
    text: string,
    reason: FinishReason,
    isCoreDone: boolean,
    stopString?: string,
  ): void {
    const finish: Finish = stopString === undefined ? { reason } : { reason, stopString }
    const usage = {
      numPromptTokens: this.numPromptTokens,
      numCachedTokens: this.#numCachedTokens,
      numCompletionTokens: this.#numCompletionTokens,
    }
    const delta = { choice, text, numTokens: 1, finish }
    this.deltas.push(delta, this.#numLive === 1 ? usage : undefined)
    this.#endChoice(choice, isCoreDone)
  }

  #endAll(isCoreDone: boolean): void {
    for (let choice = 0; choice < this.#choices.length; choice++) {
      this.#endChoice(choice, isCoreDone)
    }
  }

  #endChoice(index: number, isCoreDone: boolean): void {
    const choice = this.#choices[index]!
    if (choice.hasEnded) return
    choice.hasEnded = true
    this.#numLive--
    this.#hooks.onChoiceEnd(this.#submission.id + index, isCoreDone)
    if (this.#numLive === 0) this.#hooks.onEnd()
  }
}
