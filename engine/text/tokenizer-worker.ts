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

// The entry of a worker thread. An error while loading ends the thread and reaches the pool.
const { assets } = workerData as TokenizerWorkerData
const encoder = new TextEncoderOfModel(readAssets(assets))
const port = parentPort!
port.on('message', (job: TokenizerJob) => {
  const reply = run(job)
  port.postMessage(reply, reply.kind === 'done' ? [reply.tokenIds.buffer as ArrayBuffer] : [])
})
port.postMessage({ kind: 'ready' } satisfies TokenizerReply)

function readAssets(shared: SharedArrayBuffer): TextAssets {
  // A decoder refuses shared memory, hence the copy.
  return JSON.parse(Buffer.from(new Uint8Array(shared)).toString('utf8'))
}

function run(job: TokenizerJob): TokenizerReply {
  try {
    const tokenIds =
      job.kind === 'chat' ? encoder.encodeChat(job.messages) : encoder.encodeText(job.text)
    return { kind: 'done', id: job.id, tokenIds }
  } catch (error) {
    const code = error instanceof EngineError ? error.code : 'invalid_prompt'
    return { kind: 'refused', id: job.id, code, message: (error as Error).message }
  }
}
