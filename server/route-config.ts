import type { FastifyBaseLogger } from 'fastify'
import type { EngineGate } from './engine-gate.js'
import type { UnknownParams } from './schemas/read-body.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The field that holds the prompt: engine errors about the prompt name it. */
    promptParam?: string
    /** Polled every few seconds; logged at debug level only. */
    isQuiet?: boolean
  }
}

/** What the operator decided about the HTTP side. */
export interface AppConfig {
  /** What the operator said to listen on: an address or a name. */
  readonly host: string
  /** Names besides the engine's own under which the model is served. */
  readonly modelAliases: readonly string[]
  /** `any` answers to every model name, with the real one in the answer. */
  readonly modelCheck: 'strict' | 'any'
  readonly unknownParams: UnknownParams
  /** Origins whose pages may call this server; empty for none. */
  readonly corsOrigins: readonly string[]
  readonly exposeInternalState: boolean
  readonly defaultMaxTokens: number | undefined
  /** The most answers (n) of one request; the engine may be able to make fewer. */
  readonly maxChoices: number
  /** Whether a request may be refused after it has waited for a while. */
  readonly canExpire: boolean
  readonly keepAliveMs: number
  readonly stallTimeoutMs: number
}

export const defaultAppConfig: AppConfig = {
  host: '127.0.0.1',
  modelAliases: [],
  modelCheck: 'strict',
  unknownParams: 'warn',
  corsOrigins: [],
  exposeInternalState: false,
  defaultMaxTokens: undefined,
  maxChoices: 16,
  canExpire: false,
  keepAliveMs: 15_000,
  stallTimeoutMs: 30_000,
}

/** What every route is given. */
export interface RouteContext {
  readonly gate: EngineGate
  readonly config: AppConfig
  readonly logger: FastifyBaseLogger
}
