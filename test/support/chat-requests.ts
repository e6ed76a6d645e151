import type OpenAI from 'openai'
import type { ChatCompletionCreateParamsNonStreaming } from 'openai/resources/chat/completions'

/** What the tests ask for: OpenAI's fields and the extensions that the server has. */
export interface ChatRequest {
  readonly content: string
  readonly maxTokens: number
  readonly temperature?: number
  readonly seed?: number
  /** Go on past the end of the answer, so that its length is known. Default true. */
  readonly ignoreEos?: boolean
}

export function toParams(request: ChatRequest): ChatCompletionCreateParamsNonStreaming {
  const { content, maxTokens, temperature = 0, seed, ignoreEos = true } = request
  const extensions = { ignore_eos: ignoreEos }
  return {
    model: 'tiny',
    messages: [{ role: 'user', content }],
    max_completion_tokens: maxTokens,
    temperature,
    ...(seed !== undefined && { seed }),
    ...extensions,
  }
}

export interface ChatAnswer {
  readonly text: string
  readonly finishReason: string | null
  readonly numCompletionTokens: number
}

export async function askWhole(client: OpenAI, request: ChatRequest): Promise<ChatAnswer> {
  const completion = await client.chat.completions.create(toParams(request))
  const choice = completion.choices[0]!
  return {
    text: choice.message.content ?? '',
    finishReason: choice.finish_reason,
    numCompletionTokens: completion.usage!.completion_tokens,
  }
}

/** Reads a stream to its end; `onText` may be slow. */
export async function askStreamed(
  client: OpenAI,
  request: ChatRequest,
  signal?: AbortSignal,
  onText: (text: string) => void | Promise<void> = () => {},
): Promise<ChatAnswer> {
  const stream = await client.chat.completions.create(
    { ...toParams(request), stream: true, stream_options: { include_usage: true } },
    signal === undefined ? {} : { signal },
  )
  let text = ''
  let finishReason: string | null = null
  let numCompletionTokens = 0
  for await (const { choices, usage } of stream) {
    const content = choices[0]?.delta.content ?? ''
    text += content
    finishReason = choices[0]?.finish_reason ?? finishReason
    numCompletionTokens = usage?.completion_tokens ?? numCompletionTokens
    if (content !== '') await onText(content)
  }
  return { text, finishReason, numCompletionTokens }
}
