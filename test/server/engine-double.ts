import type {
  Delta,
  Engine,
  EngineSnapshot,
  EngineState,
  GenerateRequest,
  Generation,
  ModelCard,
} from '../../engine/generate-request.js'
import { idleState } from '../engine/support/core-states.js'

/** What the double answers: a list of deltas, or a function that makes them. */
export type Script =
  | readonly Delta[]
  | ((request: GenerateRequest, signal: AbortSignal) => AsyncIterable<Delta>)

export const usage = { numPromptTokens: 7, numCachedTokens: 3, numCompletionTokens: 2 }

export const hello: readonly Delta[] = [
  { choice: 0, text: 'Hel', numTokens: 1 },
  { choice: 0, text: 'lo "you"\n', numTokens: 1, finish: { reason: 'stop' }, usage },
]

/** An engine that says what it is told to, for tests of the HTTP side alone. */
export class EngineDouble implements Engine {
  model: ModelCard = {
    id: 'tiny',
    created: 1_700_000_000,
    maxContextLen: 128,
    vocabSize: 512,
    maxSequences: 64,
  }
  state: EngineState = 'ready'
  script: Script = hello
  /** Thrown by the next generate. */
  failure: Error | undefined
  readonly requests: GenerateRequest[] = []
  readonly signals: AbortSignal[] = []
  numDrains = 0

  async generate(request: GenerateRequest, signal: AbortSignal): Promise<Generation> {
    this.requests.push(request)
    this.signals.push(signal)
    if (this.failure) throw this.failure
    const { script } = this
    const deltas =
      typeof script === 'function' ? script(request, signal) : fromList(script, request)
    return { numPromptTokens: usage.numPromptTokens, deltas }
  }

  get lastRequest(): GenerateRequest {
    const request = this.requests.at(-1)
    if (request === undefined) throw new Error('nothing was asked of the engine')
    return request
  }

  async inspect(): Promise<EngineSnapshot> {
    return { ...idleState, numBlocks: 8, numFreeBlocks: 8, corePid: 1, numCoreRestarts: 0 }
  }

  async drain(): Promise<{ readonly numUnfinished: number }> {
    this.numDrains++
    return { numUnfinished: 0 }
  }

  async close(): Promise<void> {}
}

/** What is said for the first choice is said for all of them, a word each in turn. */
async function* fromList(
  deltas: readonly Delta[],
  { numChoices }: GenerateRequest,
): AsyncIterable<Delta> {
  for (const { usage: counts, ...delta } of deltas) {
    for (let choice = 0; choice < numChoices; choice++) {
      const isLast = counts !== undefined && choice === numChoices - 1
      yield { ...delta, choice, ...(isLast && { usage: counts }) }
    }
  }
}
