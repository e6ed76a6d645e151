import type { CoreState } from './frames-from-core.js'
import type { SamplingParams, StopParams } from './sampling-params.js'

/** One message of a chat, in the template's words. */
export interface ChatMessage {
  readonly role: 'system' | 'developer' | 'user' | 'assistant' | 'tool'
  /** Text parts are already joined; null only for an assistant turn that is nothing but tool calls. */
  readonly content: string | null
  readonly name?: string
  readonly toolCalls?: readonly ChatToolCall[]
  readonly toolCallId?: string
  readonly reasoning?: string
}

export interface ChatToolCall {
  readonly id: string
  readonly name: string
  /** What the model wrote: JSON as a rule. Parsed for the template, in a worker. */
  readonly arguments: string
}

export type Prompt =
  | { readonly kind: 'chat'; readonly messages: readonly ChatMessage[] }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'tokens'; readonly tokenIds: Int32Array }

/** What a route asks of the engine. `undefined` fields take the model's or the server's default. */
export interface GenerateRequest {
  readonly prompt: Prompt
  readonly sampling: Partial<SamplingParams>
  readonly stop: Partial<StopParams>
  /** Answers to the one prompt, 1 to ModelCard.maxSequences. */
  readonly numChoices: number
  /** Lower goes first; minPriority to maxPriority. */
  readonly priority: number
  /** What prefix reuse is confined to, below 2^53; 0 is shared by all who name none. */
  readonly tenant: number
}

export type FinishReason = 'stop' | 'length'

/** A piece of one choice's answer; its last one carries `finish`. Text may be empty. */
export interface Delta {
  /** From 0. */
  readonly choice: number
  readonly text: string
  /** Tokens behind this piece, including those whose text is still held back. */
  readonly numTokens: number
  readonly finish?: Finish
  /** Of all choices together. Only in the very last delta, with the finish of its choice. */
  readonly usage?: Usage
}

export interface Finish {
  readonly reason: FinishReason
  /** The stop string that matched, if one did. */
  readonly stopString?: string
}

export interface Usage {
  /** The prompt is one, however many choices it has. */
  readonly numPromptTokens: number
  /** Of these, found in the prefix cache when the first choice began. */
  readonly numCachedTokens: number
  /** Over all choices. */
  readonly numCompletionTokens: number
}

/** An admitted request: everything that can be refused has been, a status can still be sent. */
export interface Generation {
  readonly numPromptTokens: number
  /** Pull-based; deltas that wait for a slow reader are merged, so the buffer stays bounded. */
  readonly deltas: AsyncIterable<Delta>
}

export type EngineState = 'loading' | 'ready' | 'restarting' | 'draining' | 'failed'

/** The one face the server sees. `engine/engine.ts` implements it. */
export interface Engine {
  readonly model: ModelCard
  readonly state: EngineState
  /** Rejects with an EngineError when the request is refused; the signal ends it at any stage. */
  generate(request: GenerateRequest, signal: AbortSignal): Promise<Generation>
  /** Counts for /health, tests and operators; answered by the core between two steps. */
  inspect(): Promise<EngineSnapshot>
  /** Refuses new work, waits for admitted work at most `timeoutMs`, then ends the core. */
  drain(timeoutMs: number): Promise<{ readonly numUnfinished: number }>
  close(): Promise<void>
}

export interface ModelCard {
  /** The name clients use. */
  readonly id: string
  /** Seconds since 1970. */
  readonly created: number
  readonly maxContextLen: number
  /** Width of the logits; a logit_bias key must lie below it. */
  readonly vocabSize: number
  /** Sequences in one step, and so the most choices of one request; unknown until it is loaded. */
  readonly maxSequences: number | undefined
}

export interface EngineSnapshot extends CoreState {
  readonly corePid: number
  readonly numCoreRestarts: number
}
