import type { EngineErrorCode } from '../errors.js'
import type { ChatMessage } from '../generate-request.js'

/** What the pool asks of a worker, and what comes back. One job at a time is under way in a worker. */
export type TokenizerJob =
  | { readonly id: number; readonly kind: 'chat'; readonly messages: readonly ChatMessage[] }
  | { readonly id: number; readonly kind: 'text'; readonly text: string }

export type TokenizerReply =
  | { readonly kind: 'ready' }
  | { readonly kind: 'done'; readonly id: number; readonly tokenIds: Int32Array }
  | {
      readonly kind: 'refused'
      readonly id: number
      readonly code: EngineErrorCode
      readonly message: string
    }

export interface TokenizerWorkerData {
  /** TextAssets as JSON in UTF-8, shared by all workers: written once, never copied. */
  readonly assets: SharedArrayBuffer
}
