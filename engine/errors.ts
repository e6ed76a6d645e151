/** What can go wrong with a request once its JSON is well formed. The server maps these to HTTP. */
export type EngineErrorCode =
  | 'context_length_exceeded'
  | 'invalid_prompt'
  | 'invalid_template_input'
  | 'server_overloaded'
  | 'model_loading'
  | 'shutting_down'
  | 'engine_failed'

/**
 * An error the caller can act on. Broken invariants are plain Errors instead: nobody should catch
 * those, and the process should not serve another request after one.
 */
export class EngineError extends Error {
  override readonly name = 'EngineError'
  readonly code: EngineErrorCode
  /** Numbers a client may want, in the wire's snake_case (n_prompt_tokens, n_ctx). */
  readonly details: Readonly<Record<string, number>>
  /** True where trying again cannot help, although it does for others of this code. */
  readonly isFinal: boolean

  constructor(
    code: EngineErrorCode,
    message: string,
    details: Readonly<Record<string, number>> = {},
    options?: ErrorOptions & { readonly isFinal?: boolean },
  ) {
    super(message, options)
    this.code = code
    this.isFinal = options?.isFinal ?? false
    this.details = details
  }
}

/** The text keeps "maximum context length is N tokens": client libraries match on it. */
export function contextLengthExceeded(numPromptTokens: number, maxContextLen: number): EngineError {
  return new EngineError(
    'context_length_exceeded',
    `This model's maximum context length is ${maxContextLen} tokens and the prompt has ` +
      `${numPromptTokens}. Shorten it by at least ${numPromptTokens - maxContextLen + 1} tokens.`,
    { n_prompt_tokens: numPromptTokens, n_ctx: maxContextLen },
  )
}

export function invalidPrompt(message: string): EngineError {
  return new EngineError('invalid_prompt', message)
}

/** The template's own words, for example "roles must alternate"; it may quote a whole message. */
export function invalidTemplateInput(templateMessage: string): EngineError {
  const words = templateMessage.slice(0, maxTemplateMessageLen)
  return new EngineError(
    'invalid_template_input',
    `The model's chat template refused these messages: ${words}`,
  )
}

const maxTemplateMessageLen = 512

/** `numWanted` answers were asked for; each choice of a request is one. */
export function serverOverloaded(numQueued: number, maxQueued: number, numWanted = 1): EngineError {
  const wish = numWanted === 1 ? '' : `, and this request asks for ${numWanted} more`
  return new EngineError(
    'server_overloaded',
    `The queue holds ${numQueued} of at most ${maxQueued} answers${wish}. Try again in a moment.`,
  )
}

export function queueTimeout(): EngineError {
  return new EngineError(
    'server_overloaded',
    'The request waited in the queue for as long as the server allows and was not begun. ' +
      'Try again in a moment.',
  )
}

export function tooManyQueuedTokens(numQueued: number, maxQueued: number): EngineError {
  return new EngineError(
    'server_overloaded',
    `The prompts in the queue have ${numQueued} tokens of at most ${maxQueued}. ` +
      'Try again in a moment.',
  )
}

export function modelLoading(): EngineError {
  return new EngineError('model_loading', 'The model is still being loaded. Try again in a moment.')
}

export function shuttingDown(): EngineError {
  return new EngineError('shutting_down', 'The server is shutting down and takes no new requests.')
}

export function engineFailed(message: string, options?: ErrorOptions): EngineError {
  return new EngineError('engine_failed', message, {}, options)
}

/** The state is 'failed': nothing in this process brings the engine back. */
export function engineGivenUp(): EngineError {
  return new EngineError(
    'engine_failed',
    'The engine failed repeatedly and was given up. The server has to be restarted.',
    {},
    { isFinal: true },
  )
}
