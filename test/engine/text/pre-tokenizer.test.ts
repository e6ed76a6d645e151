import t from 'tap'
import {
  readNormalizer,
  readPreTokenizer,
  WORD_PATTERNS,
} from '../../../engine/text/pre-tokenizer.js'
import { assetsOf } from './text-fixtures.js'

const BYTES = { type: 'ByteLevel', add_prefix_space: false, use_regex: false }
const sequence = (...pretokenizers: object[]) => ({
  pre_tokenizer: { type: 'Sequence', pretokenizers },
})
const splitAt = (regex: string, more: object = {}) => ({
  type: 'Split',
  pattern: { Regex: regex },
  behavior: 'Isolated',
  invert: false,
  ...more,
})
const patterns = (tokenizer: Record<string, unknown>) =>
  readPreTokenizer(tokenizer).map((stage) => stage.pattern.Regex)

t.test('the published files are read as splits with Unicode classes', async (t) => {
  t.strictSame(patterns(assetsOf('gpt-2').tokenizer), [WORD_PATTERNS.gpt2])
  t.strictSame(patterns(assetsOf('smollm').tokenizer), ['\\p{N}', WORD_PATTERNS.gpt2])
  t.strictSame(patterns(assetsOf('llama-bpe').tokenizer), [WORD_PATTERNS.llama3])
  t.strictSame(patterns(assetsOf('qwen2').tokenizer), [WORD_PATTERNS.qwen2])
  const removed = splitAt(WORD_PATTERNS.llama3, { behavior: 'Removed', invert: true })
  t.strictSame(patterns(sequence(removed, BYTES)), [WORD_PATTERNS.llama3])
})

t.test('everything else is refused by name', async (t) => {
  const refused: [object, RegExp][] = [
    [{}, /pre_tokenizer: is not an object/],
    [{ pre_tokenizer: { type: 'Whitespace' } }, /does not end with "ByteLevel"/],
    [sequence(splitAt('(a+)+'), BYTES), /"\(a\+\)\+" is not a known word pattern/],
    [sequence(splitAt('\\p{N}', { behavior: 'Removed' }), BYTES), /behavior: is "Removed"/],
    [sequence({ type: 'Metaspace' }, BYTES), /has the stage "Metaspace"/],
    [sequence({ type: 'Digits', individual_digits: false }, BYTES), /has the stage "Digits"/],
    [sequence({ ...BYTES, add_prefix_space: true }), /add_prefix_space: is true/],
    [sequence(...Array(9).fill(BYTES)), /at most 8 stages/],
    [sequence({ type: 'Split', pattern: { String: ' ' } }, BYTES), /not a known word pattern/],
  ]
  for (const [tokenizer, message] of refused) {
    t.throws(() => readPreTokenizer(tokenizer as Record<string, unknown>), { message })
  }
})

t.test('normalizers: NFC or none', async (t) => {
  t.equal(readNormalizer({ normalizer: null }), null)
  t.equal(readNormalizer({}), null)
  t.equal(readNormalizer({ normalizer: { type: 'NFC' } }), 'NFC')
  t.equal(
    readNormalizer({ normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }] } }),
    'NFC',
  )
  t.equal(readNormalizer({ normalizer: { type: 'Sequence', normalizers: [] } }), null)
  t.throws(() => readNormalizer({ normalizer: { type: 'NFKC' } }), {
    message: /is "NFKC", supported is "NFC"/,
  })
})
