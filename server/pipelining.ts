import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'

/**
 * Of several requests that a client sends at once over one connection, Node tells only the one
 * whose answer has its turn that the connection is gone. The others are told here: they are being
 * worked on, too, and nobody will read what they make.
 */
export function closeWithConnection(app: FastifyInstance): void {
  const waiting = new WeakMap<Socket, Set<ServerResponse>>()
  app.addHook('onRequest', async (request, { raw }) => {
    if (raw.socket !== null) return
    const { socket } = request.raw
    const responses = waiting.get(socket) ?? new Set()
    if (!waiting.has(socket)) {
      waiting.set(socket, responses)
      socket.once('close', () => {
        for (const response of responses) closeUnlessItsTurn(response)
      })
    }
    responses.add(raw)
    raw.once('close', () => responses.delete(raw))
  })
}

function closeUnlessItsTurn(response: ServerResponse): void {
  if (response.socket !== null || response.destroyed) return
  response.destroy()
  response.emit('close')
}
