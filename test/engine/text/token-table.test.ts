import t from 'tap'
import { tokenizerFromGguf } from '../../../engine/text/gguf-tokenizer.js'
import { buildTokenTable } from '../../../engine/text/token-table.js'
import { assetsOf, KINDS, makeMetadata, readMetadata } from './text-fixtures.js'

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8')

t.test(
  'bytes come from the alphabet, added tokens are their text, special ones nothing',
  async (t) => {
    const assets = assetsOf('smollm')
    const table = buildTokenTable(assets)
    const { vocab } = assets.tokenizer.model as { vocab: object }
    const ids = new Map<string, number>(Object.entries(vocab))
    t.equal(text(table.bytes(ids.get('Ġt')!)), ' t')
    t.equal(table.bytes(ids.get('<|im_end|>')!).length, 0)
    t.ok(table.isSpecial(ids.get('<|im_end|>')!))
    t.notOk(table.isSpecial(ids.get('Ġt')!))
    const added = assets.tokenizer.added_tokens as { id: number; content: string }[]
    const think = added.find((token) => token.content === '<think>')!.id
    t.equal(text(table.bytes(think)), '<think>')
    t.notOk(table.isSpecial(think), 'markup that is not special is shown')
  },
)

t.test('ids outside of the vocabulary are invisible and not special', async (t) => {
  const table = buildTokenTable(assetsOf('qwen2'))
  for (const id of [-1, table.numTokens, table.numTokens + 1000, 2 ** 31]) {
    t.equal(table.bytes(id).length, 0)
    t.notOk(table.isSpecial(id))
  }
})

t.test('tokenizer.json and GGUF metadata give the same table', async (t) => {
  for (const kind of KINDS) {
    const a = buildTokenTable(assetsOf(kind))
    const b = buildTokenTable(tokenizerFromGguf(makeMetadata(readMetadata(kind))))
    t.equal(a.numTokens, b.numTokens)
    t.equal(a.longestTokenBytes, b.longestTokenBytes)
    for (let id = 0; id < a.numTokens; id++) {
      const isSame = Buffer.compare(a.bytes(id), b.bytes(id)) === 0
      if (!isSame || a.isSpecial(id) !== b.isSpecial(id)) t.fail(`${kind}: token ${id} differs`)
    }
  }
})

t.test('the longest token counts bytes, not characters', async (t) => {
  const tokenizer = {
    added_tokens: [
      { id: 2, content: '字字字', special: false },
      { id: 3, content: '<|a very long special token|>', special: true },
    ],
    model: { type: 'BPE', vocab: { a: 0, Ġaaaa: 1 }, merges: [] },
  }
  t.equal(buildTokenTable({ ...assetsOf('gpt-2'), tokenizer }).longestTokenBytes, 9)
})

t.test('a token outside of the byte alphabet is its own UTF-8', async (t) => {
  const tokenizer = { model: { type: 'BPE', vocab: { 'a b': 0, 字: 1 }, merges: [] } }
  const table = buildTokenTable({ ...assetsOf('gpt-2'), tokenizer })
  t.equal(text(table.bytes(0)), 'a b')
  t.equal(text(table.bytes(1)), '字')
})
