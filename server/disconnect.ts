import type { FastifyReply } from 'fastify'

/**
 * A signal that aborts when the client goes away before the reply is complete.
 *
 * Not `request.signal`: a request emits `close` once its body has been read, so that signal fires
 * while the answer is still being made. Only the reply knows.
 */
export function disconnectSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController()
  const abortUnlessComplete = () => {
    if (!reply.raw.writableFinished) controller.abort()
  }
  // A client that left while the body was being parsed has closed already: no event will follow.
  if (reply.raw.destroyed) abortUnlessComplete()
  else reply.raw.once('close', abortUnlessComplete)
  return controller.signal
}
