import type { FastifyInstance, HTTPMethods, RouteOptions } from 'fastify'
import { ApiError, excerpt } from '../errors.js'

const allMethods: readonly HTTPMethods[] = [
  'DELETE',
  'GET',
  'HEAD',
  'OPTIONS',
  'PATCH',
  'POST',
  'PUT',
]

/** Which methods each path has: ask before the routes are added, read after. */
export class RouteList {
  readonly #methodsByPath = new Map<string, Set<HTTPMethods>>()

  constructor(app: FastifyInstance) {
    app.addHook('onRoute', (route) => this.#add(route))
  }

  #add({ url, method }: RouteOptions): void {
    const methods = this.#methodsByPath.get(url) ?? new Set()
    for (const one of [method].flat()) methods.add(one as HTTPMethods)
    this.#methodsByPath.set(url, methods)
  }

  /** Answers 405 to every other method of the paths there are, and 404 to every other path. */
  refuseTheRest(app: FastifyInstance): void {
    for (const [url, allowed] of [...this.#methodsByPath]) {
      const allow = [...allowed].sort().join(', ')
      const method = allMethods.filter((one) => !allowed.has(one))
      app.route({
        url,
        method,
        // Before a body is read: what it holds does not matter here.
        onRequest: async (request) => {
          throw new ApiError(
            'method_not_allowed',
            `${request.method} is not allowed for this path; use ${allow}.`,
            null,
            { allow },
          )
        },
        handler: async () => undefined,
      })
    }
    app.addHook('onRequest', async (request) => {
      if (!request.is404) return
      const path = request.url.split('?', 1)[0]
      throw new ApiError(
        'unknown_url',
        `There is nothing at ${request.method} ${excerpt(path, 128)}.`,
      )
    })
  }
}
