import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { GgufMetadata, type GgufValue } from '../../../engine/model/gguf-metadata.js'
import type { TextAssets } from '../../../engine/model/model-description.js'

const FOLDER = join(process.cwd(), 'test/fixtures/tokenizers')

export const KINDS = ['gpt-2', 'smollm', 'llama-bpe', 'qwen2'] as const
export type Kind = (typeof KINDS)[number]

export function readJson<T>(name: string): T {
  return JSON.parse(readFileSync(join(FOLDER, name), 'utf8')) as T
}

export function readTemplate(name: string): string {
  return readFileSync(join(FOLDER, 'templates', `${name}.jinja`), 'utf8')
}

const SPECIAL: Readonly<Record<Kind, { bosToken: string | null; eosToken: string }>> = {
  'gpt-2': { bosToken: null, eosToken: '<|endoftext|>' },
  smollm: { bosToken: '<|im_start|>', eosToken: '<|im_end|>' },
  'llama-bpe': { bosToken: '<|begin_of_text|>', eosToken: '<|eot_id|>' },
  qwen2: { bosToken: null, eosToken: '<|im_end|>' },
}

/** The assets of a small trained tokenizer, as a folder with tokenizer.json would give them. */
export function assetsOf(kind: Kind, chatTemplate: string | null = null): TextAssets {
  return {
    tokenizer: readJson(`${kind}/tokenizer.json`),
    tokenizerConfig: {},
    chatTemplate,
    ...SPECIAL[kind],
  }
}

/** Metadata as the GGUF reader would have read them. */
export function makeMetadata(fields: Readonly<Record<string, unknown>>): GgufMetadata {
  const values = new Map<string, GgufValue>()
  for (const [key, value] of Object.entries(fields)) values.set(key, toGgufValue(value))
  return new GgufMetadata('small.gguf', values)
}

export function readMetadata(kind: Kind): Record<string, unknown> {
  return readJson(`${kind}/gguf-metadata.json`)
}

function toGgufValue(value: unknown): GgufValue {
  if (typeof value === 'string') return { kind: 'string', type: 'string', value }
  if (typeof value === 'boolean') return { kind: 'boolean', type: 'bool', value }
  if (typeof value === 'number') return { kind: 'integer', type: 'uint32', value }
  const list = value as unknown[]
  if (typeof list[0] === 'number') {
    return { kind: 'integers', type: 'int32[]', value: Int32Array.from(list as number[]) }
  }
  return { kind: 'strings', type: 'string[]', value: list as string[] }
}
