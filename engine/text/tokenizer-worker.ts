import { parentPort, workerData } from 'node:worker_threads'
import { EngineError, type EngineErrorCode } from '../errors.js'
import type { ChatMessage } from '../generate-request.js'
import type { TextAssets } from '../model/model-description.js'
import { TextEncoderOfModel } from './text-encoder.js'

/** What the pool asks of a worker, and what comes back. One job at a time is under way in a worker. */
export type TokenizerJob =
  | { readonly id: number; readonly kind: 'chat'; readonly messages: readonly ChatMessage[] }
  | { readonly id: number; readonly kind: 'text'; readonly text: string }

export type TokenizerReply =
  | { readonly kind: 'ready' }
  /** The tokenizer or the template was refused; the thread ends. */
  | { readonly kind: 'unusable'; readonly message: string }
  | { readonly kind: 'done'; readonly id: number; readonly tokenIds: Int32Array }
  | {
      readonly kind: 'refused'
      readonly id: number
      readonly code: EngineErrorCode
      readonly message: string
    }
  /** A fault of this program; the reason is for the log alone. */
  | { readonly kind: 'failed'; readonly id: number; readonly reason: string }

export interface TokenizerWorkerData {
  /** TextAssets as JSON in UTF-8, shared by all workers: written once, never copied. */
  readonly assets: SharedArrayBuffer
}

/** An error's text may quote a whole prompt. */
const MAX_REASON_LEN = 4096

// The entry of a worker thread.
const port = parentPort!
const encoder = load(workerData as TokenizerWorkerData)
if (encoder !== undefined) {
  port.on('message', (job: TokenizerJob) => {
    const reply = run(encoder, job)
    port.postMessage(reply, reply.kind === 'done' ? [reply.tokenIds.buffer as ArrayBuffer] : [])
  })
  port.postMessage({ kind: 'ready' } satisfies TokenizerReply)
}

function load({ assets }: TokenizerWorkerData): TextEncoderOfModel | undefined {
  try {
    // Text is not decoded out of shared memory, hence the copy.
    const json = Buffer.from(new Uint8Array(assets)).toString('utf8')
    return new TextEncoderOfModel(JSON.parse(json) as TextAssets)
  } catch (error) {
    const message = (error as Error).message
    port.postMessage({ kind: 'unusable', message } satisfies TokenizerReply)
    return undefined
  }
}

function run(encoder: TextEncoderOfModel, job: TokenizerJob): TokenizerReply {
  try {
    const tokenIds =
      job.kind === 'chat' ? encoder.encodeChat(job.messages) : encoder.encodeText(job.text)
    return { kind: 'done', id: job.id, tokenIds }
  } catch (error) {
    if (error instanceof EngineError) {
      return { kind: 'refused', id: job.id, code: error.code, message: error.message }
    }
    const reason = error instanceof Error ? (error.stack ?? error.message) : String(error)
    return { kind: 'failed', id: job.id, reason: reason.slice(0, MAX_REASON_LEN) }
  }
}
