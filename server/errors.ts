import { EngineError, type EngineErrorCode } from '../engine/errors.js'

/** Everything that can be wrong with a request before the engine sees it. */
export type RequestErrorCode =
  | 'invalid_json'
  | 'missing_required_parameter'
  | 'invalid_type'
  | 'invalid_value'
  | 'unsupported_parameter'
  | 'unsupported_value'
  | 'unsupported_content_type'
  | 'unknown_parameter'
  | 'model_not_found'
  | 'host_not_allowed'
  | 'unknown_url'
  | 'method_not_allowed'
  | 'malformed_request'
  | 'request_timeout'
  | 'request_too_large'
  | 'headers_too_large'
  | 'unsupported_media_type'
  | 'internal_error'

export type ErrorCode = RequestErrorCode | EngineErrorCode

export interface CatalogueEntry {
  readonly status: number
  readonly type: 'invalid_request_error' | 'permission_error' | 'not_found_error' | 'server_error'
  /** When it is sent and what to do, for docs/errors.md. */
  readonly meaning: string
  /** Clients wait this long before they try again. */
  readonly retryAfterSeconds?: number
  /** True where repeating the same request cannot help, although the status suggests it. */
  readonly isFinal?: true
}

function refusal(status: number, meaning: string): CatalogueEntry {
  return { status, type: 'invalid_request_error', meaning }
}

/** A Record, so that a new code does not compile until it has a status and a meaning. */
export const catalogue: Readonly<Record<ErrorCode, CatalogueEntry>> = {
  invalid_json: refusal(
    400,
    'The body is empty, is not JSON in UTF-8, nests deeper than 64 levels, holds more than 32,768 objects and arrays, or sets a prototype. Sent with `code: null`.',
  ),
  missing_required_parameter: refusal(400, 'A field that the request needs is absent or null.'),
  invalid_type: refusal(400, 'A field has the wrong JSON type. Nothing is converted.'),
  invalid_value: refusal(400, 'A field has the right type but lies outside its range.'),
  unsupported_parameter: refusal(
    400,
    'A field that would change the answer and that this server cannot honour. See compatibility.md.',
  ),
  unsupported_value: refusal(400, 'The field is known, this value of it cannot be served.'),
  unsupported_content_type: refusal(
    400,
    'A message part holds an image, audio, a file or video; the model reads text.',
  ),
  unknown_parameter: refusal(
    400,
    'A field nobody knows, while the server runs with `--unknown-params reject`.',
  ),
  context_length_exceeded: refusal(
    400,
    'The prompt leaves no room for an answer. Carries `n_prompt_tokens` and `n_ctx`.',
  ),
  invalid_prompt: refusal(400, 'The prompt cannot be turned into tokens, for example it is empty.'),
  invalid_template_input: refusal(
    400,
    'The chat template refused the messages, for example for their order of roles.',
  ),
  host_not_allowed: {
    status: 403,
    type: 'permission_error',
    meaning:
      'A server on a loopback address was called by a name that is neither an IP address nor `localhost` nor its `--host`: a page may have pointed that name here. `--cors-origin *` lets every name in.',
  },
  model_not_found: {
    status: 404,
    type: 'not_found_error',
    meaning: 'No model of that name is served; the message lists the names that are.',
  },
  unknown_url: {
    status: 404,
    type: 'not_found_error',
    meaning: 'There is nothing at this path.',
  },
  method_not_allowed: refusal(405, 'The path exists for other methods; see the `allow` header.'),
  malformed_request: refusal(400, 'The request is not valid HTTP or its URL cannot be decoded.'),
  request_timeout: refusal(408, 'The request did not arrive completely within 30 seconds.'),
  request_too_large: refusal(413, 'The body is larger than 4 MiB.'),
  unsupported_media_type: refusal(415, 'The body is not sent as `application/json`.'),
  headers_too_large: refusal(431, 'The headers are larger than 16 KiB.'),
  internal_error: {
    status: 500,
    type: 'server_error',
    meaning: 'A fault in this server. Its log has the details under the request id.',
    isFinal: true,
  },
  engine_failed: {
    status: 500,
    type: 'server_error',
    meaning:
      'The engine failed while it worked on the request and restarts by itself: try again. With `x-should-retry: false` it was given up and the server has to be restarted.',
    retryAfterSeconds: 1,
  },
  server_overloaded: {
    status: 503,
    type: 'server_error',
    meaning:
      'The queue is full, or the request waited in it for `--max-queue-ms`. Try again after `retry-after` seconds.',
    retryAfterSeconds: 1,
  },
  model_loading: {
    status: 503,
    type: 'server_error',
    meaning: 'The model is being loaded, or the engine is being restarted.',
    retryAfterSeconds: 2,
  },
  shutting_down: {
    status: 503,
    type: 'server_error',
    meaning: 'The server is shutting down. Send the request to another one.',
    retryAfterSeconds: 5,
  },
}

/** A request that is answered with an error of the catalogue. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly code: ErrorCode
  /** Dotted path of the field at fault, for example messages[2].content. */
  readonly param: string | null
  readonly headers: Readonly<Record<string, string>>

  constructor(
    code: ErrorCode,
    message: string,
    param: string | null = null,
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(message)
    this.code = code
    this.param = param
    this.headers = headers
  }
}

/** The body of every error this server sends: four keys, always. */
export interface ErrorBody {
  readonly error: {
    readonly message: string
    readonly type: string
    readonly param: string | null
    readonly code: string | null
    readonly [detail: string]: string | number | null
  }
}

export interface ErrorResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: ErrorBody
}

/** What is known about the request that failed. */
export interface ErrorContext {
  readonly requestId: string
  /** The field that holds the prompt: engine errors about the prompt name it. */
  readonly promptParam?: string | undefined
}

const codesAboutThePrompt = new Set<ErrorCode>([
  'context_length_exceeded',
  'invalid_prompt',
  'invalid_template_input',
])

/** Turns whatever was thrown into a status and a body. Unknown errors keep their text to the log. */
export function toErrorResponse(error: unknown, context: ErrorContext): ErrorResponse {
  if (error instanceof ApiError) {
    return respond(error.code, error.message, error.param, {}, error.headers)
  }
  if (error instanceof EngineError) {
    const param = codesAboutThePrompt.has(error.code) ? (context.promptParam ?? null) : null
    return respond(error.code, error.message, param, error.details, {}, error.isFinal)
  }
  const fault = fromFastify(error)
  if (fault) return respond(fault.code, fault.message, null, {}, {})
  const message = `Something went wrong inside the server. Its log has the details under request id ${context.requestId}.`
  return respond('internal_error', message, null, {}, {})
}

/** Fastify's own refusals, in our words. */
function fromFastify(error: unknown): ApiError | undefined {
  switch ((error as { code?: unknown } | null)?.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new ApiError('request_too_large', `The body is larger than ${maxBodyBytes} bytes.`)
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new ApiError(
        'unsupported_media_type',
        'The body must be JSON: send it with the header "content-type: application/json".',
      )
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new ApiError('malformed_request', 'The body is not as long as content-length says.')
    case 'FST_ERR_BAD_URL':
      return new ApiError('malformed_request', 'The URL cannot be decoded: check its % signs.')
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new ApiError('unknown_url', 'A part of the URL is longer than 256 characters.')
    default:
      return undefined
  }
}

/** Largest request body. */
export const maxBodyBytes = 4 * 1024 * 1024

function respond(
  code: ErrorCode,
  message: string,
  param: string | null,
  details: Readonly<Record<string, number>>,
  headers: Readonly<Record<string, string>>,
  isFinalHere = false,
): ErrorResponse {
  const { status, type, retryAfterSeconds, isFinal = isFinalHere } = catalogue[code]
  const wireCode = code === 'invalid_json' ? null : code
  return {
    status,
    headers: {
      ...(!isFinal &&
        retryAfterSeconds !== undefined && {
          'retry-after': String(retryAfterSeconds),
          'retry-after-ms': String(retryAfterSeconds * 1000),
        }),
      ...(isFinal && { 'x-should-retry': 'false' }),
      ...(code === 'shutting_down' && { connection: 'close' }),
      ...headers,
    },
    body: { error: { ...details, message, type, param, code: wireCode } },
  }
}

/** What a client sent, short enough to be sent back. */
export function excerpt(value: unknown, maxLen = 64): string {
  const text = withoutControls(
    typeof value === 'string' ? JSON.stringify(value.slice(0, maxLen + 1)) : show(value),
  )
  return text.length <= maxLen ? text : `${text.slice(0, maxLen)}…`
}

/** Control and bidirectional characters have no business in somebody's terminal. */
export function withoutControls(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, '\u{fffd}')
}

function show(value: unknown): string {
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (typeof value === 'object' && value !== null) return 'an object'
  return String(value)
}
