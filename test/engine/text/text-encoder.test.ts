import fc from 'fast-check'
import t from 'tap'
import type { ChatMessage } from '../../../engine/generate-request.js'
import { TextEncoderOfModel } from '../../../engine/text/text-encoder.js'
import { Tokenizer } from '../../../engine/text/tokenizer.js'
import { assetsOf, type Kind, readJson, readTemplate } from './text-fixtures.js'

interface GoldenChat {
  readonly template: string
  readonly tokenizer: Kind
  readonly messages: ChatMessage[]
  readonly ids?: number[]
}

const chats = readJson<GoldenChat[]>('chats.json')

t.test('honest chats give the ids of the Rust library on the text of Jinja2', async (t) => {
  t.ok(chats.filter((chat) => chat.ids !== undefined).length >= 15)
  for (const [i, { template, tokenizer, messages, ids }] of chats.entries()) {
    if (ids === undefined) continue
    const encoder = new TextEncoderOfModel(assetsOf(tokenizer, readTemplate(template)))
    t.strictSame([...encoder.encodeChat(messages)], ids, `${template}, chat ${i}`)
  }
})

const PAIRS: [string, Kind][] = [
  ['chatml', 'smollm'],
  ['llama3', 'llama-bpe'],
  ['qwen2', 'qwen2'],
  ['filters', 'gpt-2'],
]

t.test('the special ids of a chat are those of the template, for any content', async () => {
  for (const [template, kind] of PAIRS) {
    const assets = assetsOf(kind, readTemplate(template))
    const encoder = new TextEncoderOfModel(assets)
    const control = new Tokenizer(assets).controlTokens
    const controlIds = new Set(control.map((token) => token.id))
    const special = (text: string) =>
      [...encoder.encodeChat([{ role: 'user', content: text }])].filter((id) => controlIds.has(id))
    const expected = special('x').join()
    const piece = fc.oneof(
      fc.constantFrom(...control.map((token) => token.content)),
      fc.constantFrom('<|', '|>', 'im_', '<', '>', ' ', '\n', 'end', '_id', '\ue000'),
      fc.string({ unit: 'grapheme', maxLength: 8 }),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        return special(pieces.join('')).join() === expected
      }),
      { numRuns: Number(process.env.KVASIR_TEST_RUNS ?? 300) },
    )
  }
})

t.test('text between control tokens is tokenized joined with its surroundings', async (t) => {
  const assets = assetsOf('smollm', readTemplate('chatml'))
  const encoder = new TextEncoderOfModel(assets)
  const ids = [...encoder.encodeChat([{ role: 'user', content: '\n  hi' }])]
  const joined = [...encoder.encodeText('user\n\n  hi')]
  t.match(` ${ids.join(' ')} `, new RegExp(` ${joined.join(' ')} `))
})

t.test('a model without a template takes no messages', async (t) => {
  const encoder = new TextEncoderOfModel(assetsOf('smollm'))
  t.throws(() => encoder.encodeChat([{ role: 'user', content: 'x' }]), {
    code: 'invalid_prompt',
    message: /no chat template/,
  })
  t.ok(encoder.encodeText('x').length > 0)
})
