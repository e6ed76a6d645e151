import type { FastifyInstance } from 'fastify'
import { modelLoading } from '../../engine/errors.js'
import type { RouteContext } from '../route-config.js'

/**
 * GET /v1/internal/state: the engine's own counts under its own names. Registered only with
 * --expose-internal-state; not part of the interface, and free to change.
 */
export function addInternalState(app: FastifyInstance, { gate }: RouteContext): void {
  app.get('/v1/internal/state', async () => {
    if (gate.loaded === undefined) throw modelLoading()
    return gate.loaded.inspect()
  })
}
