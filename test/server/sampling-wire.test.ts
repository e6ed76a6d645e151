import t from 'tap'
import { toSamplingParams, toSchedulingParams, toStopParams } from '../../server/sampling-wire.js'

t.test('every field under its own name', async (t) => {
  t.strictSame(
    toSamplingParams(
      {
        temperature: 0.5,
        top_p: 0.9,
        top_k: 40,
        min_p: 0.1,
        repetition_penalty: 1.1,
        frequency_penalty: -1,
        presence_penalty: 2,
        seed: 7,
        logit_bias: { 5: -100, 511: 1.5 },
      },
      512,
    ),
    {
      temperature: 0.5,
      topP: 0.9,
      topK: 40,
      minP: 0.1,
      repetitionPenalty: 1.1,
      frequencyPenalty: -1,
      presencePenalty: 2,
      seed: 7n,
      logitBias: [
        { tokenId: 5, bias: -100 },
        { tokenId: 511, bias: 1.5 },
      ],
    },
  )
  t.strictSame(toSamplingParams({}, 512), {})
})

t.test('values with a second spelling', async (t) => {
  t.equal(toSamplingParams({ top_k: -1 }, 512).topK, 0)
  t.equal(toSamplingParams({ temperature: 1e-6 }, 512).temperature, 0, 'too small for fp32')
  t.equal(toSamplingParams({ temperature: 0.001 }, 512).temperature, 0.001)
})

t.test('seeds are 64 bits', async (t) => {
  const seed = (value: number) => toSamplingParams({ seed: value }, 512).seed
  t.equal(seed(-1), 2n ** 64n - 1n)
  t.equal(seed(-(2 ** 63)), 2n ** 63n)
  t.equal(seed(2 ** 60), 2n ** 60n)
})

t.test('a bias beyond the logits is refused', async (t) => {
  t.throws(() => toSamplingParams({ logit_bias: { 512: 1 } }, 512), {
    code: 'invalid_value',
    param: 'logit_bias.512',
    message: /from 0 to 511/,
  })
})

t.test('when to stop', async (t) => {
  t.strictSame(toStopParams({ stop: 'a', min_tokens: 2, ignore_eos: true }, 9), {
    maxTokens: 9,
    minTokens: 2,
    ignoreEos: true,
    stopStrings: ['a'],
  })
  t.strictSame(toStopParams({ stop: ['a', 'b'] }, undefined), { stopStrings: ['a', 'b'] })
})

t.test('how many answers, how soon, among whom', async (t) => {
  const context = { vocabSize: 512, defaultMaxTokens: undefined, maxChoices: 4 }
  t.strictSame(toSchedulingParams({}, context), { numChoices: 1, priority: 0, tenant: 0 })
  const chosen = toSchedulingParams({ n: 4, priority: -8, cache_salt: 'a' }, context)
  t.match(chosen, { numChoices: 4, priority: -8 })
  t.ok(chosen.tenant > 0)
  t.not(toSchedulingParams({ cache_salt: 'b' }, context).tenant, chosen.tenant)
  t.throws(() => toSchedulingParams({ n: 5 }, context), {
    code: 'invalid_value',
    param: 'n',
    message: /5 was given; this server makes at most 4/,
  })
})
