import t from 'tap'
import {
  findTokenizerEosId,
  generationFromGguf,
  generationFromJson,
} from '../../../engine/model/generation-defaults.js'
import { readGguf } from '../../../engine/model/gguf.js'
import { uint32, type Value } from './support/build-gguf.js'
import { MemoryBytes } from './support/memory-bytes.js'
import { tinyGgufWith } from './support/tiny-models.js'

const fromJson = (generation: object, config: object = {}, tokenizerEosId?: number) =>
  generationFromJson(
    'generation_config.json',
    { generation: { ...generation }, config: { ...config }, tokenizerEosId },
    100,
  )

const fromGguf = (changes: Record<string, Value | undefined>) =>
  generationFromGguf(readGguf(new MemoryBytes(tinyGgufWith(changes))).metadata, 4)

t.test('end tokens: those named, and the one that closes a turn', async (t) => {
  t.same(fromJson({ eos_token_id: [7, 8] }).eosTokenIds, [7, 8])
  t.same(fromJson({ eos_token_id: 7 }, { eos_token_id: 9 }, 8).eosTokenIds, [7, 8])
  t.same(fromJson({}, { eos_token_id: 9 }, 9).eosTokenIds, [9])
  t.same(fromJson({}, {}, 3).eosTokenIds, [3])
  t.throws(() => fromJson({}), /eos_token_id: names no token/)
  t.throws(() => fromJson({ eos_token_id: 100 }), /is 100, allowed are integers from 0 to 99/)
  t.throws(() => fromJson({ eos_token_id: ['7'] }), /is "7"/)
  t.throws(() => fromJson({ eos_token_id: Array(65).fill(1) }), /65 elements, the limit is 64/)
})

t.test('sampling defaults, within the bounds of a request', async (t) => {
  const sampling = { temperature: 0.7, top_p: 0.8, top_k: 20, min_p: 0, repetition_penalty: 1.05 }
  t.same(fromJson({ eos_token_id: 1, ...sampling }), {
    eosTokenIds: [1],
    temperature: 0.7,
    topP: 0.8,
    topK: 20,
    minP: 0,
    repetitionPenalty: 1.05,
  })
  t.same(fromJson({ eos_token_id: 1, temperature: null }), { eosTokenIds: [1] })
  for (const [key, value] of Object.entries({
    temperature: 3,
    top_p: -0.1,
    top_k: 1.5,
    min_p: 2,
    repetition_penalty: 0,
  })) {
    t.throws(() => fromJson({ eos_token_id: 1, [key]: value }), new RegExp(`${key}: is ${value}`))
  }
})

t.test("the tokenizer's end token, by its text", async (t) => {
  const added_tokens = [
    { id: 1, content: '<s>' },
    { id: 2, content: '</s>' },
  ]
  t.equal(findTokenizerEosId({ added_tokens }, '</s>'), 2)
  t.equal(findTokenizerEosId({ added_tokens }, '<eos>'), undefined)
  t.equal(findTokenizerEosId({}, '</s>'), undefined)
  t.equal(findTokenizerEosId({ added_tokens }, null), undefined)
})

t.test('GGUF: named ones and those known by their text, if they are control tokens', async (t) => {
  const tokens = (value: string[]): Value => ({ type: 'strings', value })
  t.same(fromGguf({}).eosTokenIds, [3])
  t.same(fromGguf({ 'tokenizer.ggml.eos_token_id': uint32(0) }).eosTokenIds, [0, 3])
  t.same(fromGguf({ 'tokenizer.ggml.eos_token_id': undefined }).eosTokenIds, [3])
  t.same(fromGguf({ 'tokenizer.ggml.eot_token_id': uint32(2) }).eosTokenIds, [3, 2])
  // The text "<|im_end|>" as an ordinary token ends nothing.
  const ordinary = { 'tokenizer.ggml.tokens': tokens(['<|im_end|>', 'b', 'c', '<|eot_id|>']) }
  t.same(fromGguf(ordinary).eosTokenIds, [3])
  t.throws(() => fromGguf({ 'tokenizer.ggml.eos_token_id': uint32(4) }), /is 4, allowed are/)
  const none = { 'tokenizer.ggml.tokens': tokens(['a', 'b', 'c', 'd']) }
  t.throws(
    () => fromGguf({ ...none, 'tokenizer.ggml.eos_token_id': undefined }),
    /eos_token_id: names no token/,
  )
  const short: Value = { type: 'int32s', value: [1, 1] }
  t.throws(() => fromGguf({ 'tokenizer.ggml.token_type': short }), /2 elements, expected are 4/)
})
