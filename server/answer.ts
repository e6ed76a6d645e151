import { createHash, randomBytes } from 'node:crypto'
import type { Delta, Finish, ModelCard, Usage } from '../engine/generate-request.js'
import type { UsageWire } from './schemas/responses.js'
import { version } from './version.js'

/** What all parts of one answer share. */
export interface AnswerHead {
  readonly id: string
  readonly created: number
  readonly model: string
  readonly system_fingerprint: string
}

export function newAnswerHead(idPrefix: 'chatcmpl' | 'cmpl', model: ModelCard): AnswerHead {
  return {
    id: `${idPrefix}-${randomBytes(16).toString('hex')}`,
    created: Math.floor(Date.now() / 1000),
    model: model.id,
    system_fingerprint: systemFingerprint(model),
  }
}

/** Changes with the server's version and the model: seeded answers compare only within one. */
export function systemFingerprint(model: ModelCard): string {
  const parts = [version, model.id, model.created, model.vocabSize, model.maxContextLen]
  return `fp_${createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 10)}`
}

export function toUsageWire(usage: Usage): UsageWire {
  return {
    prompt_tokens: usage.numPromptTokens,
    completion_tokens: usage.numCompletionTokens,
    total_tokens: usage.numPromptTokens + usage.numCompletionTokens,
    prompt_tokens_details: { cached_tokens: usage.numCachedTokens },
    completion_tokens_details: { reasoning_tokens: 0 },
  }
}

/** The chunks of a stream as ready text: only the parts that change are written each time. */
export interface ChunkFrames {
  /** What comes before any text, for every choice; empty where the format has no such chunk. */
  readonly opening: string
  text(choice: number, text: string): string
  finish(choice: number, finish: Finish): string
  usage(usage: UsageWire): string
}

/** How a stream is written. */
export interface ChunkOptions {
  readonly numChoices: number
  readonly includeUsage: boolean
}

/** Turns deltas into frames, as many as there are in one write. Choices come as they are made. */
export async function* toFrames(
  deltas: AsyncIterable<Delta>,
  frames: ChunkFrames,
  options: { readonly includeUsage: boolean; readonly onUsage: (usage: Usage) => void },
): AsyncGenerator<string, void> {
  if (frames.opening !== '') yield frames.opening
  for await (const { choice, text, finish, usage } of deltas) {
    const textFrame = text === '' ? '' : frames.text(choice, text)
    const finishFrame = finish === undefined ? '' : frames.finish(choice, finish)
    if (usage === undefined) {
      if (textFrame + finishFrame !== '') yield textFrame + finishFrame
      continue
    }
    options.onUsage(usage)
    yield textFrame + finishFrame + (options.includeUsage ? frames.usage(toUsageWire(usage)) : '')
    return
  }
  throw new Error('the engine ended a generation without a finish')
}

export interface WholeAnswer {
  /** In order. */
  readonly choices: readonly { readonly text: string; readonly finish: Finish }[]
  readonly usage: Usage
}

export async function collectAnswer(
  deltas: AsyncIterable<Delta>,
  numChoices: number,
): Promise<WholeAnswer> {
  const pieces = Array.from({ length: numChoices }, (): string[] => [])
  const finishes: Finish[] = []
  for await (const { choice, text, finish, usage } of deltas) {
    pieces[choice]!.push(text)
    if (finish !== undefined) finishes[choice] = finish
    if (usage === undefined) continue
    const choices = pieces.map((texts, i) => ({ text: texts.join(''), finish: finishes[i]! }))
    return { choices, usage }
  }
  throw new Error('the engine ended a generation without a finish')
}

/** What stands before and behind the text. */
export type ChunkTemplate = readonly [string, string]

/**
 * Splits the JSON of a sample chunk at its marker string, so that a chunk is prefix + text + suffix:
 * the shape is written once, as an object, and JSON.stringify never sees more than the text.
 */
export function splitTemplate(sample: object): ChunkTemplate {
  const [prefix, suffix] = JSON.stringify(sample).split(JSON.stringify(templateMarker))
  if (prefix === undefined || suffix === undefined) throw new Error('the template has no marker')
  return [`data: ${prefix}`, `${suffix}\n\n`]
}

export function fillTemplate([prefix, suffix]: ChunkTemplate, text: string): string {
  return `${prefix}${JSON.stringify(text)}${suffix}`
}

/** Stands for the text in a sample chunk. Its NULs keep it apart from any model's name. */
export const templateMarker = '\0text\0'
