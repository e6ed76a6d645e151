import t from 'tap'
import type { GenerateRequest } from '../../engine/generate-request.js'
import { makeSubmission } from '../../engine/submission.js'

const context = {
  generation: { eosTokenIds: [2, 3], temperature: 0.6, topP: 0.95, topK: 20 },
  vocabSize: 100,
  maxContextLen: 32,
}
const request: GenerateRequest = {
  prompt: { kind: 'text', text: '' },
  sampling: {},
  stop: {},
  numChoices: 3,
  priority: -2,
  tenant: 4,
}
const prompt = Int32Array.of(5, 6, 7)

t.test("a request's own values win, then the model's, then neutral ones", (t) => {
  const defaults = makeSubmission(9, request, prompt, context)
  t.match(defaults, {
    id: 9,
    tenant: 4,
    numChoices: 3,
    priority: -2,
    sampling: {
      temperature: 0.6,
      topP: 0.95,
      topK: 20,
      minP: 0,
      repetitionPenalty: 1,
      frequencyPenalty: 0,
      presencePenalty: 0,
    },
    maxTokens: 29,
    minTokens: 0,
    ignoreEos: false,
  })
  t.same(Array.from(defaults.stopTokenIds), [2, 3])
  const sampling = { temperature: 0, topP: 0.5, topK: 0, minP: 0.1, repetitionPenalty: 1.2 }
  const chosen = makeSubmission(9, { ...request, sampling }, prompt, context)
  t.match(chosen.sampling, sampling)
  t.end()
})

t.test('an answer is cut to what fits the context', (t) => {
  const maxTokens = (wanted: number) =>
    makeSubmission(1, { ...request, stop: { maxTokens: wanted } }, prompt, context).maxTokens
  t.equal(maxTokens(29), 29)
  t.equal(maxTokens(30), 29)
  t.equal(maxTokens(8192), 29)
  t.equal(maxTokens(1), 1)
  t.end()
})

t.test('a prompt is refused only when not even one token follows it', (t) => {
  const submission = makeSubmission(1, request, new Int32Array(31), context)
  t.equal(submission.maxTokens, 1)
  t.throws(() => makeSubmission(1, request, new Int32Array(32), context), {
    code: 'context_length_exceeded',
    details: { n_prompt_tokens: 32, n_ctx: 32 },
  })
  t.end()
})

t.test('tokens that the model does not have are refused', (t) => {
  for (const tokenId of [-1, 100]) {
    t.throws(() => makeSubmission(1, request, Int32Array.of(1, tokenId), context), {
      code: 'invalid_prompt',
      message: /0 to 99/,
    })
    const sampling = { logitBias: [{ tokenId, bias: 1 }] }
    t.throws(() => makeSubmission(1, { ...request, sampling }, prompt, context), {
      code: 'invalid_prompt',
    })
  }
  t.throws(() => makeSubmission(1, request, new Int32Array(0), context), { code: 'invalid_prompt' })
  const many = Array.from({ length: 1025 }, () => ({ tokenId: 1, bias: 1 }))
  const sampling = { logitBias: many }
  t.throws(() => makeSubmission(1, { ...request, sampling }, prompt, context), /1024/)
  t.end()
})

t.test('a seed keeps its 64 bits; without one each request draws its own', (t) => {
  const seeded = (seed: bigint) =>
    makeSubmission(1, { ...request, sampling: { seed } }, prompt, context)
  t.match(seeded(0x1234_5678_9abc_def0n), { seedLow: 0x9abc_def0, seedHigh: 0x1234_5678 })
  t.match(seeded(-1n), { seedLow: 0xffff_ffff, seedHigh: 0xffff_ffff })
  t.match(seeded(0n), { seedLow: 0, seedHigh: 0 })
  const drawn = new Set<string>()
  for (let i = 0; i < 20; i++) {
    const { seedLow, seedHigh } = makeSubmission(1, request, prompt, context)
    drawn.add(`${seedLow}/${seedHigh}`)
  }
  t.equal(drawn.size, 20)
  t.end()
})

t.test('biases keep their pairs', (t) => {
  const logitBias = [
    { tokenId: 7, bias: -100 },
    { tokenId: 99, bias: 1.5 },
  ]
  const submission = makeSubmission(1, { ...request, sampling: { logitBias } }, prompt, context)
  t.same(Array.from(submission.biasTokenIds), [7, 99])
  t.same(Array.from(submission.biasValues), [-100, 1.5])
  t.end()
})
