import * as hub from '@huggingface/tokenizers'
import fc from 'fast-check'
import t from 'tap'
import { tokenOfBytes } from '../../../engine/text/byte-alphabet.js'
import { PairMerger } from '../../../engine/text/pair-merger.js'
import { readMerges, readTokenizer } from '../../../engine/text/tokenizer-file.js'
import { assetsOf } from './text-fixtures.js'

// The library's declarations do not resolve under Node's rules.
const { BPE } = hub as unknown as {
  BPE: new (model: unknown) => { encode(words: string[]): string[] }
}

function makeMerger(tokenizer: Record<string, unknown>, forbidden: number[] = []): PairMerger {
  const { vocab } = readTokenizer(tokenizer)
  return new PairMerger(vocab, readMerges(tokenizer, vocab), new Set(forbidden))
}

function encode(merger: PairMerger, word: string): number[] {
  const out: number[] = []
  merger.encode(word, out)
  return out
}

const abc = (merges: string[], more: object = {}) => ({
  model: {
    type: 'BPE',
    vocab: { a: 0, b: 1, c: 2, ab: 3, bc: 4, abc: 5, aa: 6, aaaa: 7 },
    merges,
    ...more,
  },
})

t.test('merges go by rank, then from the left', async (t) => {
  t.strictSame(encode(makeMerger(abc(['a b', 'b c', 'ab c'])), 'abc'), [5])
  t.strictSame(encode(makeMerger(abc(['b c', 'a b', 'ab c'])), 'abc'), [0, 4])
  t.strictSame(encode(makeMerger(abc(['a a', 'aa aa'])), 'aaaaaaa'), [7, 6, 0])
  t.strictSame(encode(makeMerger(abc([])), ''), [])
})

t.test('an unknown byte vanishes and its neighbours meet', async (t) => {
  t.strictSame(encode(makeMerger(abc(['a b'])), 'axb'), [3])
  t.strictSame(encode(makeMerger(abc(['a b'])), 'xyz'), [])
})

t.test('whole words come before merges where the file says so', async (t) => {
  t.strictSame(encode(makeMerger(abc([])), 'abc'), [0, 1, 2])
  t.strictSame(encode(makeMerger(abc([], { ignore_merges: true })), 'abc'), [5])
})

t.test('a forbidden token is never made', async (t) => {
  const merges = ['a b', 'ab c']
  t.strictSame(encode(makeMerger(abc(merges), [5]), 'abc'), [3, 2])
  t.strictSame(encode(makeMerger(abc(merges, { ignore_merges: true }), [5]), 'abc'), [3, 2])
})

t.test('the same tokens as the merge loop of the library', async () => {
  for (const kind of ['gpt-2', 'llama-bpe'] as const) {
    const { tokenizer } = assetsOf(kind)
    const merger = makeMerger(tokenizer)
    const { vocab } = readTokenizer(tokenizer)
    const oracle = new BPE(tokenizer.model)
    const word = fc.oneof(
      fc.string({ unit: fc.constantFrom(...' aeinrstlbod.1é字'), maxLength: 60 }),
      fc.string({ unit: 'binary', maxLength: 30 }),
    )
    fc.assert(
      fc.property(word, (text) => {
        const tokens = oracle.encode([tokenOfBytes(Buffer.from(text))])
        return encode(merger, text).join() === tokens.map((token) => vocab.get(token)).join()
      }),
      { numRuns: 1500 },
    )
  }
})

t.test('time is linear in the length of a word', async (t) => {
  const merger = makeMerger(assetsOf('gpt-2').tokenizer)
  const time = (length: number) => {
    const word = 'a'.repeat(length)
    const start = process.cpuUsage()
    encode(merger, word)
    return process.cpuUsage(start).user / 1000
  }
  time(50_000)
  const small = Math.min(...[1, 2, 3].map(() => time(200_000)))
  const large = Math.min(...[1, 2, 3].map(() => time(800_000)))
  // Four times the input: 4.4 times the steps of a heap; 16 times if it were quadratic.
  t.ok(large < 9 * small + 20, `200,000 bytes in ${small} ms, 800,000 in ${large} ms`)
})

t.test('a word beyond the limit is refused', async (t) => {
  t.throws(() => encode(makeMerger(abc([])), 'a'.repeat(2 ** 24 + 1)), RangeError)
})
