import t from 'tap'
import { tokenizerFromGguf } from '../../../engine/text/gguf-tokenizer.js'
import { Tokenizer } from '../../../engine/text/tokenizer.js'
import { makeMetadata, readMetadata } from './text-fixtures.js'

const small = (more: object = {}) => ({
  'tokenizer.ggml.model': 'gpt2',
  'tokenizer.ggml.pre': 'gpt-2',
  'tokenizer.ggml.tokens': ['a', 'b', 'ab', '<|end|>', 'two words', '[PAD]', '[PAD]'],
  'tokenizer.ggml.token_type': [1, 1, 1, 3, 4, 5, 5],
  'tokenizer.ggml.merges': ['a b'],
  'tokenizer.ggml.bos_token_id': 3,
  'tokenizer.ggml.eos_token_id': 3,
  ...more,
})
const read = (more: object = {}) => tokenizerFromGguf(makeMetadata(small(more)))

t.test('token types become vocabulary, special and plain added tokens', async (t) => {
  const { tokenizer, bosToken, eosToken, chatTemplate } = read()
  t.strictSame({ ...(tokenizer.model as { vocab: object }).vocab }, { a: 0, b: 1, ab: 2 })
  t.match(tokenizer.added_tokens, [
    { id: 3, content: '<|end|>', special: true },
    { id: 4, content: 'two words', special: false },
  ])
  t.strictSame([bosToken, eosToken, chatTemplate], ['<|end|>', '<|end|>', null])
})

t.test('BOS as the file says, else as the pre-tokenizer is used', async (t) => {
  const firstId = (more: object) => new Tokenizer(read(more)).encodeText('ab')[0]
  t.equal(firstId({}), 2)
  t.equal(firstId({ 'tokenizer.ggml.add_bos_token': true }), 3)
  t.equal(firstId({ 'tokenizer.ggml.pre': 'llama-bpe' }), 3)
  t.equal(firstId({ 'tokenizer.ggml.pre': 'llama-bpe', 'tokenizer.ggml.add_bos_token': false }), 2)
})

t.test('the template and the names of tokens are handed on', async (t) => {
  const assets = read({ 'tokenizer.chat_template': '{{ bos_token }}' })
  t.equal(assets.chatTemplate, '{{ bos_token }}')
  t.match(assets.tokenizerConfig, {
    bos_token: '<|end|>',
    eos_token: '<|end|>',
    add_bos_token: false,
  })
})

t.test('unknown tokenizers and broken lists are refused by key', async (t) => {
  const refused: [object, RegExp][] = [
    [{ 'tokenizer.ggml.model': 'llama' }, /tokenizer.ggml.model: is "llama", supported is "gpt2"/],
    [
      { 'tokenizer.ggml.pre': 'default' },
      /is "default", supported are gpt-2, smollm, llama-bpe, qwen2/,
    ],
    [{ 'tokenizer.ggml.pre': '__proto__' }, /is "__proto__"/],
    [{ 'tokenizer.ggml.token_type': [1, 1] }, /has 2 elements, expected are 7/],
    [{ 'tokenizer.ggml.token_type': [1, 1, 1, 3, 6, 5, 5] }, /token_type\[4\]: is 6/],
    [{ 'tokenizer.ggml.bos_token_id': 7 }, /bos_token_id: is 7, but there are 7 tokens/],
    [{ 'tokenizer.ggml.tokens': ['a', 'a', 'ab', 'c', 'd', 'e', 'f'] }, /repeats token 0/],
  ]
  for (const [more, message] of refused) {
    t.throws(() => read(more), { name: 'ModelFileError', message })
  }
  const fields: Record<string, unknown> = small()
  delete fields['tokenizer.ggml.merges']
  t.throws(() => tokenizerFromGguf(makeMetadata(fields)), { message: /merges: is missing/ })
})

t.test('padding at the end is no token', async (t) => {
  const { tokenizer } = tokenizerFromGguf(makeMetadata(readMetadata('qwen2')))
  t.notOk('[PAD1]' in (tokenizer.model as { vocab: object }).vocab)
})
