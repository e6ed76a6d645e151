import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import pino from 'pino'
import { buildApp } from '../../server/app.js'
import { EngineGate } from '../../server/engine-gate.js'
import { type AppConfig, defaultAppConfig } from '../../server/route-config.js'
import { EngineDouble } from './engine-double.js'

export interface AppUnderTest {
  readonly app: FastifyInstance
  readonly engine: EngineDouble
  readonly gate: EngineGate
  /** Log lines, parsed. */
  readonly logs: Record<string, unknown>[]
}

/** The real application over an engine double. Closed when the test ends. */
export async function startApp(
  t: { teardown(close: () => Promise<unknown>): void },
  config: Partial<AppConfig> = {},
): Promise<AppUnderTest> {
  const engine = new EngineDouble()
  const gate = new EngineGate(engine)
  const logs: Record<string, unknown>[] = []
  const logger = pino({ level: 'info' }, { write: (line: string) => logs.push(JSON.parse(line)) })
  const app = await buildApp({ gate, logger, config: { ...defaultAppConfig, ...config } })
  t.teardown(() => {
    app.server.closeAllConnections()
    return app.close()
  })
  return { app, engine, gate, logs }
}

export const userMessage = { role: 'user', content: 'Hi' }

/** A valid chat body with some fields set differently. */
export function chatBody(fields: object = {}): Record<string, unknown> {
  return { model: 'tiny', messages: [userMessage], ...fields }
}

export interface Answer {
  readonly status: number
  readonly body: Record<string, unknown>
  readonly headers: Record<string, unknown>
}

export async function post(app: FastifyInstance, url: string, payload: unknown): Promise<Answer> {
  const response = await app.inject({
    method: 'POST',
    url,
    headers: { 'content-type': 'application/json' },
    payload: typeof payload === 'string' ? payload : JSON.stringify(payload),
  })
  return { status: response.statusCode, body: parse(response.body), headers: response.headers }
}

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text)
  } catch {
    return { text }
  }
}

export function postChat(app: FastifyInstance, fields: object = {}): Promise<Answer> {
  return post(app, '/v1/chat/completions', chatBody(fields))
}

export function postCompletion(app: FastifyInstance, fields: object = {}): Promise<Answer> {
  return post(app, '/v1/completions', { model: 'tiny', prompt: 'Hi', ...fields })
}

/** Listens on a free port of the loopback interface. */
export async function listen(app: FastifyInstance): Promise<number> {
  await app.listen({ host: '127.0.0.1', port: 0 })
  return (app.server.address() as AddressInfo).port
}

/** Sends bytes and gives back everything until the server closes, or until `until` was seen. */
export async function exchange(
  port: number,
  bytes: string | Buffer,
  until?: RegExp,
): Promise<string> {
  const socket = await open(port)
  socket.write(bytes)
  let text = ''
  for await (const piece of socket) {
    text += piece
    if (until?.test(text)) break
  }
  socket.destroy()
  return text
}

export async function open(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}
