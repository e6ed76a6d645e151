import { createServer } from 'node:net'
import type { FastifyInstance } from 'fastify'

/** The address cannot be listened on. The message says why and what to do. */
export class ListenError extends Error {
  override readonly name = 'ListenError'
}

export interface Address {
  readonly host: string
  readonly port: number
}

/** Takes the port. Resolves with the address a client on this machine uses. */
export async function listen(app: FastifyInstance, address: Address): Promise<string> {
  try {
    await app.listen({ ...address, listenTextResolver: (at) => `listening at ${at}` })
  } catch (error) {
    throw await explain(error as NodeJS.ErrnoException, address)
  }
  const bound = app.server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : address.port
  return `http://${clientHost(address.host)}:${port}`
}

/** Where "all addresses" is listened on, a client on this machine says localhost's number. */
function clientHost(host: string): string {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1'
  return host.includes(':') ? `[${host}]` : host
}

async function explain(error: NodeJS.ErrnoException, address: Address): Promise<Error> {
  const { host, port } = address
  switch (error.code) {
    case 'EADDRINUSE': {
      const free = await findFreePort(host, port + 1)
      return new ListenError(
        `Port ${port} on ${host} is in use by another program. Stop that program, or choose ` +
          `another port: --port ${free} is free.`,
      )
    }
    case 'EACCES':
      return new ListenError(
        `This user may not listen on port ${port}. Choose one above 1023, for example --port 8000.`,
      )
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
    case 'EINVAL':
      return new ListenError(
        `${host} is not an address of this machine. Use --host 127.0.0.1 for this machine alone, ` +
          'or --host 0.0.0.0 for all its addresses.',
      )
    default:
      return error
  }
}

/** The first free port from `first` on, looking at a few; otherwise any. */
async function findFreePort(host: string, first: number): Promise<number> {
  for (let port = first; port < first + 20 && port <= 65_535; port++) {
    if ((await tryPort(host, port)) === port) return port
  }
  return (await tryPort(host, 0)) ?? 0
}

function tryPort(host: string, port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(undefined))
    probe.listen({ host, port }, () => {
      const bound = probe.address()
      const taken = typeof bound === 'object' && bound !== null ? bound.port : undefined
      probe.close(() => resolve(taken))
    })
  })
}
