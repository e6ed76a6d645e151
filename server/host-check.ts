import { type AddressInfo, BlockList, isIP } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { ApiError, excerpt } from './errors.js'
import type { AppConfig } from './route-config.js'

/**
 * Refuses names that somebody else may have pointed at this machine. A server that listens for this
 * machine alone trusts who reaches it, but a page in a browser reaches it, too, once the page's own
 * name resolves to a loopback address (DNS rebinding), and CORS does not see that. Such a request
 * carries the page's name in `host`. Call before the routes are added.
 */
export function addHostCheck(app: FastifyInstance, { host, corsOrigins }: AppConfig): void {
  if (corsOrigins.includes('*')) return
  const ownNames = new Set(['localhost', host.toLowerCase()])
  app.addHook('onRequest', async (request) => {
    const given = request.headers.host
    // Browsers always send it; probes that speak HTTP/1.0 do not.
    if (given === undefined) return
    const name = hostName(given)
    if (isIP(name) !== 0 || ownNames.has(name) || !isLoopback(app.server.address())) return
    throw new ApiError(
      'host_not_allowed',
      `The host ${excerpt(given)} is not served: this server listens for its own machine alone. ` +
        "Call it by its IP address or as localhost, or start it with --cors-origin '*' where " +
        'pages of any origin may call it.',
    )
  })
}

/** Without port and brackets, in lower case. */
function hostName(header: string): string {
  const [, address, name] = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(header) ?? []
  return (address ?? name ?? '').toLowerCase()
}

/** Null is a server that does not listen, and text is a socket in the file system. */
function isLoopback(bound: AddressInfo | string | null): boolean {
  if (typeof bound !== 'object' || bound === null) return false
  const loopback = new BlockList()
  loopback.addSubnet('127.0.0.0', 8, 'ipv4')
  loopback.addAddress('::1', 'ipv6')
  return loopback.check(bound.address, bound.family === 'IPv6' ? 'ipv6' : 'ipv4')
}
