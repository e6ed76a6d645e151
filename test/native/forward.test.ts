import t from 'tap'
import { loadAddon } from '../../engine/core/addon.js'
import { allLogits, argmax } from '../reference/forward.js'
import { Runner } from './support/runner.js'
import { makeTinyModel, type TinyOptions, uniformNumbers } from './support/tiny-model.js'

const addon = loadAddon()
const numNewTokens = 24
/** Below this lead float and double may honestly disagree about the larger logit. */
const smallestMargin = 1e-4

const models: Record<string, TinyOptions> = {
  'llama, q and k interleaved, frequency divisors from the file': {
    isInterleaved: true,
    hasRopeFreqs: true,
  },
  'llama with the scaling of Llama 3.1': {
    config: {
      ropeScaling: {
        kind: 'llama3',
        factor: 8,
        lowFrequencyFactor: 1,
        highFrequencyFactor: 4,
        originalMaxContextLen: 64,
      },
    },
  },
  'qwen2: biases, tied head': {
    config: { architecture: 'qwen2', hasQkvBias: true, hasTiedEmbeddings: true, ropeTheta: 1e6 },
  },
  'qwen3: norm per head, heads wider than the hidden size': {
    config: { architecture: 'qwen3', hasQkNorm: true, headDim: 24, ropeTheta: 1e6 },
  },
  'weights of several types, q, k and v not of one': {
    types: {
      'attn_v.weight': 'f16',
      'attn_k.weight': 'bf16',
      'ffn_up.weight': 'bf16',
      'output.weight': 'f16',
      'attn_norm.weight': 'f16',
    },
    config: { architecture: 'qwen2', hasQkvBias: true },
  },
}

for (const [name, options] of Object.entries(models)) {
  t.test(`greedy ids equal the double-precision forward pass: ${name}`, async (t) => {
    const tiny = makeTinyModel(options, t.teardown)
    const model = await addon.loadModel(tiny.spec, () => {})
    const runner = new Runner(model, tiny.spec)
    const uniform = uniformNumbers(7)
    let numCompared = 0
    for (const promptLen of [1, 5, 16, 33]) {
      const prompt = Array.from({ length: promptLen }, () =>
        Math.floor(uniform() * tiny.config.vocabSize),
      )
      const sequence = runner.add(prompt, promptLen + numNewTokens)
      await runner.generate(sequence, numNewTokens, 64)
      const logits = allLogits(tiny, sequence.tokenIds)
      for (let len = promptLen; len < sequence.tokenIds.length; len++) {
        const { index, margin } = argmax(logits[len - 1]!)
        if (margin < smallestMargin) continue
        numCompared++
        if (sequence.tokenIds[len] === index) continue
        t.equal(sequence.tokenIds[len], index, `prompt of ${promptLen}, token ${len}`)
        break
      }
      runner.remove(sequence)
    }
    t.ok(numCompared > 3.5 * numNewTokens, `${numCompared} choices were clear enough to compare`)
    model.close()
  })
}

t.test('a KV cache in float16 stays close to float32', async (t) => {
  const tiny = makeTinyModel({ spec: { kvCacheType: 'float16' } }, t.teardown)
  const model = await addon.loadModel(tiny.spec, () => {})
  const runner = new Runner(model, tiny.spec)
  const sequence = runner.add([3, 1, 4, 1, 5], 40)
  await runner.generate(sequence, 30, 64)
  const logits = allLogits(tiny, sequence.tokenIds)
  let numSame = 0
  for (let len = 5; len < 35; len++) {
    if (argmax(logits[len - 1]!).index === sequence.tokenIds[len]) numSame++
  }
  t.ok(numSame >= 28, `${numSame} of 30 choices are those of the reference`)
  model.close()
})

t.test('memory is reported by purpose', async (t) => {
  const tiny = makeTinyModel({}, t.teardown)
  const model = await addon.loadModel(tiny.spec, () => {})
  const { numLayers, numKvHeads, headDim } = tiny.config
  const { numBlocks, blockSize } = tiny.spec
  t.equal(model.memory.kvCache, 2 * numLayers * numBlocks * blockSize * numKvHeads * headDim * 4)
  const numFileBytes = tiny.spec.files[0]!.byteLength
  t.ok(model.memory.weights >= numFileBytes && model.memory.weights < 1.2 * numFileBytes + 4096)
  t.ok(model.memory.workspace > 0 && model.memory.sampler > 0)
  model.close()
})

t.test('progress ends with all bytes', async (t) => {
  const tiny = makeTinyModel({}, t.teardown)
  const seen: number[] = []
  const model = await addon.loadModel(tiny.spec, (numBytesDone) => seen.push(numBytesDone))
  const total = tiny.spec.tensors.reduce((sum, tensor) => sum + tensor.byteLength, 0)
  t.equal(seen.at(-1), total)
  t.strictSame(
    seen,
    [...seen].sort((a, b) => a - b),
    'never backwards',
  )
  model.close()
})
