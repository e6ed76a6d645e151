import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export const COMMIT = '0123456789abcdef0123456789abcdef01234567'

/** What happens to one transfer of a file; the next one in line for it, then all is well. */
export type Fault =
  | { kind: 'cut'; fraction: number }
  | { kind: 'status'; status: number }
  /** Headers come, the body stops at this share. */
  | { kind: 'hang'; fraction: number }
  /** Nothing comes at all. */
  | { kind: 'silence' }
  /** Bytes of the right number and the wrong content. */
  | { kind: 'wrong-bytes' }
  /** The whole file as if no Range had been asked for. */
  | { kind: 'ignore-range' }
  /** A range that starts elsewhere. */
  | { kind: 'wrong-range' }
  /** Twice the bytes, without a Content-Length. */
  | { kind: 'too-much' }

export interface HubRequest {
  readonly path: string
  readonly range: string | undefined
  readonly authorization: string | undefined
}

/** A hub on the loopback with one repository, `owner/name`, and faults on demand. */
export class HubServer {
  readonly requests: HubRequest[] = []
  /** Faults of transfers by file, first come, first served; `list` for the API. */
  readonly faults = new Map<string, Fault[]>()
  /** What the list says of a file instead of the truth. */
  readonly lies = new Map<string, { size?: number; oid?: string }>()
  /** Large files come from another origin by way of a redirect, as they do on the hub. */
  redirectTo: string | undefined
  sha: unknown = COMMIT
  readonly #files: ReadonlyMap<string, Buffer>
  readonly #server: Server

  private constructor(files: ReadonlyMap<string, string | Buffer>) {
    this.#files = new Map([...files].map(([name, content]) => [name, Buffer.from(content)]))
    this.#server = createServer((request, response) => this.#answer(request, response))
  }

  static async start(files: ReadonlyMap<string, string | Buffer>): Promise<HubServer> {
    const hub = new HubServer(files)
    await new Promise<void>((resolve) => hub.#server.listen(0, '127.0.0.1', resolve))
    return hub
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Transfers of a file so far, with their ranges. */
  transfersOf(file: string): readonly HubRequest[] {
    return this.requests.filter(({ path }) => path.endsWith(`/${file}`))
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(new URL(request.url ?? '/', this.url).pathname)
    const { range, authorization } = request.headers
    this.requests.push({ path, range, authorization })
    const fault = this.faults.get(path.startsWith('/api/') ? 'list' : nameOf(path))?.shift()
    if (fault?.kind === 'silence') return
    if (fault?.kind === 'status') sendJson(response, fault.status, { error: 'a fault' })
    else if (path.startsWith('/api/')) this.#answerApi(path, response)
    else this.#answerFile(path, range, response, fault)
  }

  #answerApi(path: string, response: ServerResponse): void {
    if (path === '/api/models/owner/name/revision/HEAD') {
      sendJson(response, 200, { _id: '1', id: 'owner/name', sha: this.sha })
    } else if (path === `/api/models/owner/name/tree/${COMMIT}`) {
      const list = [...this.#files].map((entry) => this.#listed(...entry))
      sendJson(response, 200, list)
    } else sendJson(response, 404, { error: 'not found' })
  }

  #answerFile(
    path: string,
    range: string | undefined,
    response: ServerResponse,
    fault: Fault | undefined,
  ): void {
    const name = nameOf(path)
    const content = this.#files.get(name)
    const isBehindRedirect = path.startsWith('/cdn/')
    const isKnown = isBehindRedirect || path.startsWith(`/owner/name/resolve/${COMMIT}/`)
    if (!isKnown || content === undefined) sendJson(response, 404, { error: 'not found' })
    else if (this.redirectTo !== undefined && isLarge(name) && !isBehindRedirect) {
      response.writeHead(302, { location: `${this.redirectTo}/cdn/${name}` }).end()
    } else sendFile(response, content, range, fault)
  }

  #listed(name: string, content: Buffer): object {
    const lie = this.lies.get(name)
    const size = lie?.size ?? content.byteLength
    const sha1 = createHash('sha1').update(`blob ${content.byteLength}\0`).update(content)
    const oid = lie?.oid ?? sha1.digest('hex')
    if (!isLarge(name)) return { type: 'file', path: name, size, oid }
    const sha256 = lie?.oid ?? createHash('sha256').update(content).digest('hex')
    return {
      type: 'file',
      path: name,
      size,
      oid: '0'.repeat(40),
      lfs: { oid: sha256, size, pointerSize: 130 },
    }
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

function isLarge(name: string): boolean {
  return name.endsWith('.safetensors') || name.endsWith('.gguf')
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

function sendFile(
  response: ServerResponse,
  content: Buffer,
  range: string | undefined,
  fault: Fault | undefined,
): void {
  if (fault?.kind === 'too-much') {
    response.writeHead(200).end(Buffer.concat([content, content]))
    return
  }
  const asked =
    fault?.kind === 'ignore-range' ? 0 : Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0)
  if (asked >= content.byteLength && asked > 0) {
    response.writeHead(416, { 'content-range': `bytes */${content.byteLength}` }).end()
    return
  }
  const start = fault?.kind === 'wrong-range' ? 0 : asked
  const body = content.subarray(start)
  const headers: Record<string, string | number> = { 'content-length': body.byteLength }
  const isPart = asked > 0
  if (isPart) {
    headers['content-range'] = `bytes ${start}-${content.byteLength - 1}/${content.byteLength}`
  }
  response.writeHead(isPart ? 206 : 200, headers)
  if (fault?.kind === 'wrong-bytes') response.end(Buffer.alloc(body.byteLength, 0x5a))
  else if (fault?.kind === 'cut' || fault?.kind === 'hang') {
    const numBytes = Math.floor(body.byteLength * fault.fraction)
    response.write(body.subarray(0, numBytes), () => {
      // A little later, so that what was written has left.
      if (fault.kind === 'cut') setTimeout(() => response.destroy(), 20)
    })
  } else response.end(body)
}
