import fc from 'fast-check'
import t from 'tap'
import { ModelFileError } from '../../../engine/model/model-description.js'
import {
  MAX_TOKEN_BYTES,
  MAX_VOCAB_SIZE,
  readMerges,
  readTokenizer,
} from '../../../engine/text/tokenizer-file.js'
import { assetsOf } from './text-fixtures.js'

const bpe = (vocab: unknown, merges: unknown = [], more: object = {}) => ({
  model: { type: 'BPE', vocab, merges, ...more },
})
const added = (...tokens: object[]) => ({ ...bpe({ a: 0 }), added_tokens: tokens })

t.test('a real file: ids, kinds of added tokens, merges', async (t) => {
  const { tokenizer } = assetsOf('llama-bpe')
  const { vocab, addedTokens, numTokens } = readTokenizer(tokenizer)
  t.equal(numTokens, 705)
  t.equal(vocab.get('Ġ'), 228)
  const find = (content: string) => addedTokens.find((token) => token.content === content)
  t.match(find('<|eot_id|>'), { isSpecial: true, isControl: true })
  t.match(find('<think>'), { isSpecial: false, isControl: true })
  t.match(find('mill-pond'), { isSpecial: false, isControl: false })
  const { triples, ignoresMergesForWholeWords } = readMerges(tokenizer, vocab)
  t.ok(ignoresMergesForWholeWords)
  t.ok(triples.length % 3 === 0 && triples.length > 300)
})

t.test('merges are pairs or strings', async (t) => {
  const vocab = new Map([
    ['a', 0],
    ['b', 1],
    ['ab', 2],
  ])
  for (const merges of [['a b'], [['a', 'b']]]) {
    t.strictSame(readMerges(bpe({}, merges), vocab).triples, Int32Array.of(0, 1, 2))
  }
})

t.test('what is wrong is named with its value and its limit', async (t) => {
  const refused: [Record<string, unknown>, RegExp][] = [
    [{}, /model: is not an object/],
    [{ model: { type: 'Unigram' } }, /model.type: is "Unigram", supported is "BPE"/],
    [bpe({ a: 0 }, [], { byte_fallback: true }), /byte tokens such as <0x0A> are not supported/],
    [bpe({ a: 0 }, [], { dropout: 0.1 }), /model.dropout: is 0.1/],
    [bpe({ a: 0 }, [], { end_of_word_suffix: '</w>' }), /end_of_word_suffix/],
    [bpe({}), /model.vocab: has 0 tokens/],
    [bpe({ a: 1 }), /no token has id 0, although ids go up to 1/],
    [bpe({ a: 0, b: 0 }), /token "b": has id 0, which "a" has too/],
    [bpe({ a: -1 }), /has id -1, allowed are 0 to 1048575/],
    [bpe({ a: 0.5 }), /has id 0.5/],
    [bpe({ a: MAX_VOCAB_SIZE }), /has id 1048576/],
    [bpe({ a: '0' }), /has id 0, allowed/],
    [bpe({ ['x'.repeat(MAX_TOKEN_BYTES + 1)]: 0 }), /is a token of 4097 bytes, the limit is 4096/],
    [bpe({ ['字'.repeat(1366)]: 0 }), /is a token of 4098 bytes/],
    [added({ id: 1 }), /added_tokens\[0\].content: is not a string/],
    [added({ id: 1, content: '' }), /is not a string of at least one/],
    [added({ id: 1, content: 'x', special: true }), /special token of one character/],
    [added({ id: 1, content: 'xy', single_word: true }), /single_word: is true/],
    [added({ id: 0, content: 'xy' }), /has id 0, which "a" has too/],
    [{ ...bpe({ a: 0 }), added_tokens: 3 }, /added_tokens: is not an array/],
  ]
  for (const [tokenizer, message] of refused) {
    t.throws(() => readTokenizer(tokenizer), { name: 'ModelFileError', message })
  }
})

t.test('merges must be pairs of known tokens', async (t) => {
  const vocab = new Map([
    ['a', 0],
    ['b', 1],
  ])
  const refused: [unknown, RegExp][] = [
    [null, /model.merges: is not an array/],
    [['a b'], /model.merges\[0\]: uses "ab", which is not in the vocabulary/],
    [['a c'], /uses "c"/],
    [['ab'], /is not a pair/],
    [['a b c'], /is not a pair/],
    [[['a']], /is not a pair/],
    [[1], /is not a pair/],
    [Array(2 ** 21 + 1).fill('a b'), /has 2097153 merges, the limit is 2097152/],
  ]
  for (const [merges, message] of refused) {
    t.throws(() => readMerges(bpe({ a: 0 }, merges), vocab), { name: 'ModelFileError', message })
  }
})

t.test('names from an object prototype are tokens like others', async (t) => {
  const vocab = JSON.parse('{"__proto__": 0, "constructor": 1, "toString": 2}')
  t.equal(readTokenizer(bpe(vocab)).vocab.get('__proto__'), 0)
})

t.test('any JSON is read or refused as a model file', async () => {
  const model = fc.record(
    { type: fc.constant('BPE'), vocab: fc.jsonValue(), merges: fc.jsonValue() },
    { requiredKeys: [] },
  )
  const tokenizer = fc.record({ model, added_tokens: fc.jsonValue() }, { requiredKeys: [] })
  fc.assert(
    fc.property(tokenizer, (json) => {
      try {
        const { vocab } = readTokenizer(json as Record<string, unknown>)
        readMerges(json as Record<string, unknown>, vocab)
        return true
      } catch (error) {
        return error instanceof ModelFileError
      }
    }),
    { numRuns: 2000 },
  )
})
