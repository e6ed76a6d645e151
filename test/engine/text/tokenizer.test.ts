import fc from 'fast-check'
import t from 'tap'
import { withFile } from '../../../engine/model/byte-source.js'
import { DEFAULT_MODEL } from '../../../engine/model/catalog.js'
import { readGguf } from '../../../engine/model/gguf.js'
import { resolveModel } from '../../../engine/model/resolve-model.js'
import { tokenizerFromGguf } from '../../../engine/text/gguf-tokenizer.js'
import { NO_SHIELD } from '../../../engine/text/special-token-guard.js'
import { Tokenizer } from '../../../engine/text/tokenizer.js'
import { assetsOf, KINDS, makeMetadata, readJson, readMetadata } from './text-fixtures.js'

interface Golden {
  readonly text: string
  readonly ids: number[]
}

const goldens = readJson<Record<string, Golden[]>>('ids.json')

for (const kind of KINDS) {
  const sources = {
    'tokenizer.json': assetsOf(kind),
    'GGUF metadata': tokenizerFromGguf(makeMetadata(readMetadata(kind))),
  }
  for (const [source, assets] of Object.entries(sources)) {
    t.test(`${kind} from ${source}: the ids of the Rust library`, async (t) => {
      const tokenizer = new Tokenizer(assets)
      t.ok(goldens[kind]!.length > 30)
      for (const [i, { text, ids }] of goldens[kind]!.entries()) {
        // The goldens are made without BOS.
        const bos = kind === 'llama-bpe' ? [0] : []
        t.strictSame([...tokenizer.encodeText(text)], [...bos, ...ids], `text ${i}`)
      }
    })
  }
}

/** The default model if it is in a cache; never fetched here. */
const realPath = await resolveModel(DEFAULT_MODEL, { offline: true, onProgress() {} }).catch(
  () => undefined,
)

t.test(
  'SmolLM2: the ids of the Rust library',
  {
    skip: realPath?.endsWith('.gguf') !== true && `${DEFAULT_MODEL} is in no cache as a GGUF file`,
  },
  async (t) => {
    const tokenizer = new Tokenizer(
      withFile(realPath!, (source) => tokenizerFromGguf(readGguf(source).metadata)),
    )
    for (const [i, { text, ids }] of readJson<Golden[]>('smollm2-ids.json').entries()) {
      t.strictSame([...tokenizer.encodeText(text)], ids, `text ${i}`)
    }
  },
)

t.test('control tokens are found in template text, longest first', async (t) => {
  const tokenizer = new Tokenizer(assetsOf('smollm'))
  const ids = [...tokenizer.encodeShielded('<|im_start|><|im_end|>', NO_SHIELD)]
  const find = (content: string) =>
    tokenizer.controlTokens.find((token) => token.content === content)!.id
  t.strictSame(ids, [find('<|im_start|>'), find('<|im_end|>')])
})

t.test('white space next to a token that strips is swallowed', async (t) => {
  const assets = assetsOf('gpt-2')
  const added = assets.tokenizer.added_tokens as {
    content: string
    lstrip: boolean
    rstrip: boolean
  }[]
  const end = added.find((token) => token.content === '<|im_end|>')!
  end.lstrip = true
  end.rstrip = true
  const tokenizer = new Tokenizer(assets)
  t.strictSame(
    tokenizer.encodeShielded('a \n<|im_end|> \n b', NO_SHIELD),
    tokenizer.encodeShielded('a<|im_end|>b', NO_SHIELD),
  )
})

t.test('post-processors: BOS, EOS, and what is not supported', async (t) => {
  const encode = (postProcessor: object) =>
    new Tokenizer({
      ...assetsOf('smollm'),
      tokenizer: { ...assetsOf('smollm').tokenizer, post_processor: postProcessor },
    }).encodeText('')
  const special = (id: string) => ({ SpecialToken: { id, type_id: 0 } })
  const text = { Sequence: { id: 'A', type_id: 0 } }
  const template = (...single: object[]) => ({ type: 'TemplateProcessing', single })
  t.strictSame([...encode(template(special('<|im_start|>'), text, special('<|im_end|>')))], [1, 2])
  t.strictSame(
    [...encode({ type: 'Sequence', processors: [{ type: 'ByteLevel' }, template(text)] })],
    [],
  )
  t.throws(() => encode(template(special('<none>'), text)), {
    message: /"<none>", which is not a token/,
  })
  t.throws(() => encode({ type: 'BertProcessing' }), { message: /is "BertProcessing"/ })
})

t.test('text never gives a control token, and decodes to itself', async () => {
  for (const kind of ['smollm', 'llama-bpe'] as const) {
    const tokenizer = new Tokenizer({
      ...assetsOf(kind),
      tokenizer: { ...assetsOf(kind).tokenizer, post_processor: null },
    })
    const controlIds = new Set(tokenizer.controlTokens.map((token) => token.id))
    const piece = fc.oneof(
      fc.constantFrom(...tokenizer.controlTokens.map((token) => token.content)),
      fc.constantFrom('<', '<|', '|>', 'im_', '>', ' ', '\n', 'mill-pond'),
      fc.string({ unit: 'grapheme', maxLength: 10 }),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        return !tokenizer.encodeText(pieces.join('')).some((id) => controlIds.has(id))
      }),
      { numRuns: 2000 },
    )
  }
})
