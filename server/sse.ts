import type { ServerResponse } from 'node:http'
import type { FastifyReply } from 'fastify'
import type { ErrorBody } from './errors.js'

export interface EventStreamOptions {
  /** A comment line is sent after this much silence, because proxies cut silent streams. */
  readonly keepAliveMs: number
  /** A reader that takes no byte for this long is cut off. Longer than `keepAliveMs`. */
  readonly stallTimeoutMs: number
  /** The body for a failure after the start, and where it is logged. */
  readonly toErrorBody: (error: unknown) => ErrorBody
}

const doneFrame = 'data: [DONE]\n\n'
const keepAliveFrame = ': keep-alive\n\n'

/**
 * Sends frames as server-sent events, one write each, and OpenAI's `[DONE]` at the end. The next
 * frame is pulled only when the socket has room, so a slow reader holds one frame, not an answer.
 * Resolves when everything is written or the client is gone; never rejects.
 */
export async function sendEventStream(
  reply: FastifyReply,
  frames: AsyncIterable<string>,
  options: EventStreamOptions,
): Promise<void> {
  const { raw } = reply
  reply.header('content-type', 'text/event-stream; charset=utf-8')
  reply.header('cache-control', 'no-cache')
  reply.header('x-accel-buffering', 'no')
  reply.hijack()
  raw.writeHead(200, reply.getHeaders() as NodeJS.Dict<string | string[] | number>)
  // Node's own timer knows partial writes: it fires only when the socket made no progress at all.
  raw.setTimeout(options.stallTimeoutMs, () => raw.destroy())
  const keepAlive = setInterval(() => {
    if (!raw.writableNeedDrain) raw.write(keepAliveFrame)
  }, options.keepAliveMs)

  try {
    for await (const frame of frames) {
      if (raw.destroyed) return
      keepAlive.refresh()
      if (!raw.write(frame)) await drainedOrClosed(raw)
    }
  } catch (error) {
    if (raw.destroyed) return
    // The 200 is on the wire already. All that is left is to say so inside the stream.
    raw.write(toDataFrame(options.toErrorBody(error)))
  } finally {
    clearInterval(keepAlive)
  }
  raw.end(doneFrame)
}

export function toDataFrame(payload: object): string {
  return `data: ${JSON.stringify(payload)}\n\n`
}

function drainedOrClosed(raw: ServerResponse): Promise<void> {
  if (raw.destroyed) return Promise.resolve()
  return new Promise((resolve) => {
    const settle = () => {
      raw.off('drain', settle)
      raw.off('close', settle)
      resolve()
    }
    raw.on('drain', settle)
    raw.on('close', settle)
  })
}
