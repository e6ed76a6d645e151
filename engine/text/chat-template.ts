import { invalidTemplateInput } from '../errors.js'
import type { ChatMessage } from '../generate-request.js'
import { ModelFileError } from '../model/model-description.js'
import { MAX_LOOP_LEN, RenderFence, RenderLimitError } from './render-fence.js'
import { type ContentShield, NO_SHIELD, SpecialTokenGuard } from './special-token-guard.js'
import { formatTime } from './strftime.js'
import { FencedInterpreter } from './template-interpreter.js'
import { makeScope, parseJinja, type TemplateNode } from './template-values.js'

const MAX_TEMPLATE_LEN = 256 * 1024
const MAX_SPACE_RUN = 256

export interface ChatTemplateSource {
  /** Jinja. */
  readonly template: string
  readonly bosToken: string | null
  readonly eosToken: string | null
  /** Tokens that only the template may write. */
  readonly controlTokens: readonly string[]
}

export interface RenderedChat {
  /** The rendered chat with stand-ins for what users wrote; see SpecialTokenGuard. */
  readonly shieldedText: string
  readonly shield: ContentShield
  /** The same with everything revealed: what other servers would tokenize. */
  readonly text: string
}

/** A model's chat template: parsed once, rendered under limits, its input kept apart from its words. */
export class ChatTemplate {
  readonly #program: TemplateNode
  readonly #source: ChatTemplateSource
  readonly #guard: SpecialTokenGuard
  readonly #knowsDeveloper: boolean

  /** Parses the template and renders a probe. Throws ModelFileError if either fails. */
  constructor(source: ChatTemplateSource) {
    this.#source = source
    this.#program = parseTemplate(source.template)
    this.#knowsDeveloper = source.template.includes('developer')
    this.#guard = new SpecialTokenGuard(source.controlTokens, writableText(source))
    this.#probe()
  }

  /** Throws invalid_template_input in the template's own words, or for what a limit stopped. */
  render(messages: readonly ChatMessage[]): RenderedChat {
    try {
      return this.#render(messages)
    } catch (error) {
      // A turn of tool calls alone has no content, and simple templates join it to their own text.
      if (messages.some(({ content }) => content === null)) {
        return this.render(messages.map((one) => ({ ...one, content: one.content ?? '' })))
      }
      if (error instanceof RenderLimitError) throw invalidTemplateInput(error.message)
      // Stack overflow and strings above the engine's limit.
      if (error instanceof RangeError) {
        throw invalidTemplateInput('it is nested too deeply or makes too long a text')
      }
      if (error instanceof Error && error.name !== 'EngineError') {
        throw invalidTemplateInput(error.message)
      }
      throw error
    }
  }

  #render(messages: readonly ChatMessage[]): RenderedChat {
    const texts: string[] = []
    const now = new Date()
    const plain = this.#toVariables(messages, (text) => {
      texts.push(text)
      return text
    })
    const inputLen = texts.reduce((sum, text) => sum + text.length, 0)
    // First as it is, so that an exception of the template quotes what was written.
    const text = this.#run(plain, inputLen, NO_SHIELD, now)
    const shield = this.#guard.shieldFor(texts)
    const hidden = this.#toVariables(messages, (content) => shield.hide(content))
    const shieldedText = this.#run(hidden, inputLen, shield, now)
    if (shield.reveal(shieldedText) !== text) {
      throw invalidTemplateInput(
        'it changes these messages in a way that does not let their text be told from its own',
      )
    }
    return { shieldedText, shield, text }
  }

  #run(messages: object[], inputLen: number, shield: ContentShield, now: Date): string {
    const scope = makeScope()
    for (const [name, value] of Object.entries(GLOBALS)) scope.set(name, value)
    scope.set('strftime_now', (format: unknown) => formatTime(now, String(format)))
    scope.set('messages', messages)
    scope.set('add_generation_prompt', true)
    if (this.#source.bosToken !== null) scope.set('bos_token', this.#source.bosToken)
    if (this.#source.eosToken !== null) scope.set('eos_token', this.#source.eosToken)
    const interpreter = new FencedInterpreter(scope, new RenderFence(inputLen), shield)
    return String(interpreter.run(this.#program).value)
  }

  /** Messages in the words of templates; `mark` gets each text that a client may have written. */
  #toVariables(messages: readonly ChatMessage[], mark: (text: string) => string): object[] {
    return messages.map((message) => {
      const isRenamed = message.role === 'developer' && !this.#knowsDeveloper
      return {
        role: isRenamed ? 'system' : message.role,
        content: message.content === null ? null : mark(message.content),
        ...(message.name !== undefined && { name: mark(message.name) }),
        ...(message.reasoning !== undefined && { reasoning_content: mark(message.reasoning) }),
        ...(message.toolCallId !== undefined && { tool_call_id: mark(message.toolCallId) }),
        ...(message.toolCalls !== undefined && {
          tool_calls: message.toolCalls.map((call) => ({
            id: mark(call.id),
            type: 'function',
            function: {
              name: mark(call.name),
              arguments: markAll(parseArguments(call.arguments), mark),
            },
          })),
        }),
      }
    })
  }

  /** A template that fails on one short message would fail on everything: better now than later. */
  #probe(): void {
    const lookAlikes = this.#source.controlTokens.slice(0, 16).join(' ')
    const content = `Hello, how are you? ${lookAlikes}`
    try {
      this.#render([{ role: 'user', content }])
    } catch (error) {
      refuseTemplate(`fails on one short message: ${(error as Error).message}`)
    }
  }
}

/** Templates print arguments as an object; a model that wrote no JSON gets its own words back. */
function parseArguments(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** Applies `mark` to every string in a JSON value, keys included. */
function markAll(value: unknown, mark: (text: string) => string): unknown {
  if (typeof value === 'string') return mark(value)
  if (Array.isArray(value)) return value.map((item) => markAll(item, mark))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [mark(key), markAll(item, mark)]),
  )
}

const GLOBALS: Readonly<Record<string, unknown>> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
  raise_exception: (message: unknown) => {
    throw new Error(String(message))
  },
  range,
}

/** Python's range(), refusing to make what no template needs. */
function range(first: unknown, last?: unknown, step: unknown = 1): number[] {
  const [start, stop] = last === undefined ? [0, first] : [first, last]
  for (const argument of [start, stop, step]) {
    if (!Number.isSafeInteger(argument)) throw new Error('range() takes integers')
  }
  const [from, to, by] = [start as number, stop as number, step as number]
  if (by === 0) throw new Error('the step of range() is 0')
  const numItems = Math.max(0, Math.ceil((to - from) / by))
  if (numItems > MAX_LOOP_LEN) {
    throw new RenderLimitError(`it asks for a range of ${numItems}, the limit is ${MAX_LOOP_LEN}`)
  }
  return Array.from({ length: numItems }, (_, i) => from + i * by)
}

function parseTemplate(template: string): TemplateNode {
  if (template.length > MAX_TEMPLATE_LEN) {
    refuseTemplate(`has ${template.length} characters, the limit is ${MAX_TEMPLATE_LEN}`)
  }
  // The library looks for a tag behind white space at each place of a run: quadratic in the run.
  const longRun = template.match(new RegExp(`\\s{${MAX_SPACE_RUN},}`))
  if (longRun !== null) {
    refuseTemplate(`has ${longRun[0].length} white spaces in a row, the limit is ${MAX_SPACE_RUN}`)
  }
  try {
    return parseJinja(template)
  } catch (error) {
    // A RangeError is the stack: deep nesting.
    const reason =
      error instanceof RangeError ? 'it is nested too deeply' : (error as Error).message
    return refuseTemplate(`cannot be parsed: ${reason}`)
  }
}

function refuseTemplate(message: string): never {
  throw new ModelFileError('tokenizer', 'chat_template', message)
}

/** All private-use characters that the template could write, those behind escapes too. */
function writableText(source: ChatTemplateSource): string {
  const escaped = [...source.template.matchAll(/\\u([0-9a-f]{4})/gi)].map((match) =>
    String.fromCharCode(Number.parseInt(match[1]!, 16)),
  )
  const tokens = [source.bosToken ?? '', source.eosToken ?? '', ...source.controlTokens]
  return [source.template, ...escaped, ...tokens].join('')
}
