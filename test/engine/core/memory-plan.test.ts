import t from 'tap'
import { kvBlockBytes, planGpuMemory, planMemory } from '../../../engine/core/memory-plan.js'
import type { ModelConfig } from '../../../engine/model/model-description.js'

/** SmolLM2-135M's sizes. */
const config: ModelConfig = {
  architecture: 'llama',
  numLayers: 30,
  hiddenSize: 576,
  intermediateSize: 1536,
  numHeads: 9,
  numKvHeads: 3,
  headDim: 64,
  vocabSize: 49152,
  maxContextLen: 8192,
  rmsNormEpsilon: 1e-5,
  ropeTheta: 1e5,
  ropeScaling: null,
  hasQkvBias: false,
  hasQkNorm: false,
  hasTiedEmbeddings: true,
}
const gib = 2 ** 30
const request = {
  config,
  kvCacheType: 'float16',
  kvCacheBytes: null,
  memoryLimitBytes: 64 * gib,
} as const

t.test('a block is K and V of 16 tokens in all layers', (t) => {
  t.equal(kvBlockBytes(config, 'float16'), 30 * 2 * 3 * 64 * 16 * 2)
  t.equal(kvBlockBytes(config, 'float32'), 2 * kvBlockBytes(config, 'float16'))
  t.end()
})

t.test('with memory in plenty the default is four full contexts', (t) => {
  const plan = planMemory(request)
  t.equal(plan.numBlocks, (4 * 8192) / 16)
  t.equal(plan.maxContextLen, 8192)
  t.equal(plan.maxBlocksPerSequence, 512)
  t.end()
})

t.test('otherwise it is a quarter of the limit', (t) => {
  const plan = planMemory({ ...request, memoryLimitBytes: gib })
  t.ok(plan.kvCacheBytes <= gib / 4)
  t.ok(plan.kvCacheBytes > gib / 4 - kvBlockBytes(config, 'float16'))
  t.equal(plan.maxContextLen, 8192)
  t.end()
})

t.test('a small pool limits the context', (t) => {
  const bytesPerBlock = kvBlockBytes(config, 'float16')
  const plan = planMemory({ ...request, kvCacheBytes: 10 * bytesPerBlock + 5 })
  t.same(plan, {
    numBlocks: 10,
    kvCacheBytes: 10 * bytesPerBlock,
    maxContextLen: 160,
    maxBlocksPerSequence: 10,
  })
  t.end()
})

t.test('a pool too small for one short sequence is refused with the numbers', (t) => {
  const bytesPerBlock = kvBlockBytes(config, 'float16')
  t.throws(() => planMemory({ ...request, kvCacheBytes: 1000 }), {
    message: new RegExp(
      `may take 1000 bytes.*at least ${4 * bytesPerBlock}.*--kv-cache-bytes`,
      's',
    ),
  })
  t.doesNotThrow(() => planMemory({ ...request, kvCacheBytes: 4 * bytesPerBlock }))
  const tiny = { ...config, maxContextLen: 20 }
  t.equal(planMemory({ ...request, config: tiny, kvCacheBytes: 2 * bytesPerBlock }).numBlocks, 2)
  t.end()
})

t.test('a pool over the memory limit is refused', (t) => {
  t.throws(() => planMemory({ ...request, kvCacheBytes: 65 * gib }), /memory limit/)
  t.end()
})

const gpuRequest = {
  config,
  kvCacheType: 'bfloat16',
  kvCacheBytes: null,
  totalBytes: 24 * gib,
  freeBytes: 24 * gib,
  fraction: 0.5,
  needs: { weights: gib, workspace: gib / 2, sampler: gib / 2 },
} as const

t.test('on a GPU the cache gets what the rest leaves of the share', (t) => {
  const plan = planGpuMemory(gpuRequest)
  const bytesPerBlock = kvBlockBytes(config, 'bfloat16')
  t.equal(plan.numBlocks, Math.floor((10 * gib) / bytesPerBlock))
  t.equal(plan.kvCacheBytes, plan.numBlocks * bytesPerBlock)
  t.equal(plan.maxContextLen, 8192)
  t.equal(planGpuMemory({ ...gpuRequest, kvCacheBytes: gib }).kvCacheBytes <= gib, true)
  t.end()
})

t.test('memory that others hold on the GPU is not planned with', (t) => {
  const plan = planGpuMemory({ ...gpuRequest, freeBytes: 5 * gib })
  t.ok(plan.kvCacheBytes <= 3 * gib && plan.kvCacheBytes > 2.9 * gib)
  t.end()
})

t.test('a cache does not grow beyond what slots can name', (t) => {
  const config1 = { ...config, numLayers: 1, numKvHeads: 1, headDim: 8, maxContextLen: 64 }
  const huge = { ...gpuRequest, config: config1, totalBytes: 2 ** 46, freeBytes: 2 ** 46 }
  t.ok(planGpuMemory(huge).numBlocks * 16 <= 2 ** 31 - 1)
  t.end()
})

t.test('a GPU that is too small is refused with the numbers and what to lower', (t) => {
  for (const change of [{ freeBytes: 2 * gib }, { kvCacheBytes: 11 * gib }, { kvCacheBytes: 1 }]) {
    t.throws(
      () => planGpuMemory({ ...gpuRequest, ...change }),
      /GPU has 25769803776 bytes .* Lower --max-tokens-per-step/,
      JSON.stringify(change),
    )
  }
  t.end()
})
