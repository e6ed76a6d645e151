import { symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { loadAddon, type NativeModelSpec } from '../../engine/core/addon.js'
import type { ModelConfig, TensorRef } from '../../engine/model/model-description.js'
import { makeTinyModel } from './support/tiny-model.js'

const addon = loadAddon()
const tiny = makeTinyModel({ isInterleaved: true }, t.teardown)
const { spec } = tiny
const folder = dirname(spec.files[0]!.path)

function withTensor(name: string, change: Partial<TensorRef>): NativeModelSpec {
  const tensors = spec.tensors.map((one) => (one.name === name ? { ...one, ...change } : one))
  return { ...spec, tensors }
}

function withConfig(change: Partial<ModelConfig>): NativeModelSpec {
  return { ...spec, config: { ...spec.config, ...change } }
}

const q = 'blk.1.attn_q.weight'
const qRef = spec.tensors.find(({ name }) => name === q)!
const fileBytes = spec.files[0]!.byteLength
const scaling = {
  kind: 'llama3',
  factor: 8,
  lowFrequencyFactor: 1,
  highFrequencyFactor: 4,
} as const

const refused: [string, NativeModelSpec, RegExp][] = [
  ['a tensor is missing', { ...spec, tensors: spec.tensors.slice(1) }, /token_embd.*missing/],
  [
    'a tensor is there twice',
    { ...spec, tensors: [...spec.tensors, qRef] },
    /blk\.1\.attn_q\.weight: is there twice/,
  ],
  [
    'a tensor of another model',
    { ...spec, tensors: [...spec.tensors, { ...qRef, name: 'blk.0.attn_sinks' }] },
    /blk\.0\.attn_sinks: is not a tensor of this architecture/,
  ],
  [
    'more layers than tensors',
    withConfig({ numLayers: 3 }),
    /blk\.2\.attn_norm\.weight: is missing/,
  ],
  ['fewer layers than tensors', withConfig({ numLayers: 1 }), /blk\.1\..*not a tensor/],
  [
    'a transposed tensor',
    withTensor('blk.0.ffn_up.weight', { shape: [64, 96] }),
    /\[64, 96\].*\[96, 64\]/,
  ],
  [
    'a tied head with an own one',
    withConfig({ hasTiedEmbeddings: true }),
    /^output\.weight: is not/,
  ],
  [
    'no bias where the config has one',
    withConfig({ hasQkvBias: true }),
    /attn_q\.bias: is missing/,
  ],
  ['no dimensions', withTensor(q, { shape: [] }), /has 0 dimensions/],
  ['five dimensions', withTensor(q, { shape: [1, 1, 1, 64, 64] }), /has 5 dimensions/],
  ['a dimension of zero', withTensor(q, { shape: [0, 64] }), /a dimension is 0/],
  [
    'a dimension over 2^31',
    withTensor(q, { shape: [2 ** 31 + 1, 64] }),
    /a dimension is 2147483649/,
  ],
  [
    'a product that wraps 64 bits',
    withTensor(q, { shape: [2 ** 31, 2 ** 31, 2 ** 31, 64] }),
    /exceeds 64 bits/,
  ],
  [
    'a byte size that wraps 64 bits',
    withTensor(q, { shape: [2 ** 31, 2 ** 31, 4], byteLength: 0 }),
    /exceeds 64 bits|takes? /,
  ],
  [
    'too few bytes',
    withTensor(q, { byteLength: 4 }),
    /byteLength is 4; its shape and type take 16384/,
  ],
  ['bytes of another type', withTensor(q, { type: 'f16' }), /byteLength is 16384.*take 8192/],
  ['half a quantised block', withTensor(q, { type: 'q6_k' }), /needs a multiple of 256/],
  [
    'an end beyond the file',
    withTensor(q, { offset: fileBytes - 16380 }),
    /ends at byte .* which has/,
  ],
  ['an offset near 2^53', withTensor(q, { offset: 2 ** 53 - 1 }), /ends at byte/],
  ['a file that is not listed', withTensor(q, { file: 1 }), /file is 1; there are 1/],
  ['no files', { ...spec, files: [] }, /file is 0; there are 0/],
  [
    'heads that do not fit the rows',
    withTensor(q, { numInterleavedHeads: 3 }),
    /numInterleavedHeads is 3/,
  ],
  [
    'a quantised vector',
    withTensor('output_norm.weight', { type: 'q8_0', byteLength: 68 }),
    /output_norm\.weight: is q8_0; a vector must be/,
  ],
  ['a head size no kernel has', withConfig({ headDim: 20 }), /headDim is 20.*multiple of 8/],
  ['a head size too large', withConfig({ headDim: 512 }), /headDim is 512.*256/],
  ['heads that do not divide', withConfig({ numHeads: 3, numKvHeads: 2 }), /numHeads is 3/],
  ['no epsilon', withConfig({ rmsNormEpsilon: 0 }), /rmsNormEpsilon is 0/],
  ['an infinite theta', withConfig({ ropeTheta: Number.POSITIVE_INFINITY }), /ropeTheta is inf/],
  ['NaN as theta', withConfig({ ropeTheta: Number.NaN }), /ropeTheta is -?nan/],
  [
    'a scaling by nothing',
    withConfig({ ropeScaling: { ...scaling, factor: 0, originalMaxContextLen: 64 } }),
    /ropeScaling\.factor is 0/,
  ],
  ['blocks of another size', { ...spec, blockSize: 32 }, /blockSize is 32/],
  ['slots beyond 32 bits', { ...spec, numBlocks: 2 ** 28 }, /numBlocks is 268435456/],
  ['a device nobody has', { ...spec, device: 'tpu' as 'cpu' }, /device must be cpu or cuda/],
  ['a type for the device', { ...spec, dtype: 'int8' as 'float16' }, /dtype must be float32/],
  ['numerics', { ...spec, numerics: 'exact' as 'fast' }, /numerics must be reference or fast/],
  [
    'text for a flag',
    { ...spec, isBatchInvariant: 'no' as unknown as boolean },
    /isBatchInvariant must be a boolean/,
  ],
  ['no threads', { ...spec, numThreads: 0 }, /numThreads is 0/],
  ['no tokens', { ...spec, maxTokensPerStep: 0 }, /maxTokensPerStep is 0/],
  ['no sequences', { ...spec, maxSequences: 0 }, /maxSequences is 0/],
]

t.test('what does not fit together is refused by name, value and limit', async (t) => {
  for (const [name, broken, message] of refused) {
    await t.rejects(
      addon.loadModel(broken, () => {}),
      { message },
      name,
    )
  }
})

t.test('a file is opened only as what it was when its header was read', async (t) => {
  const withFile = (path: string, byteLength = fileBytes) => ({
    ...spec,
    files: [{ path, byteLength }],
  })
  const link = join(folder, 'link.bin')
  symlinkSync(spec.files[0]!.path, link)
  const short = join(folder, 'short.bin')
  writeFileSync(short, Buffer.alloc(fileBytes))
  truncateSync(short, fileBytes - 1)

  const cases: [string, NativeModelSpec, RegExp][] = [
    ['a symbolic link', withFile(link), /link\.bin: is a symbolic link/],
    ['a folder', withFile(folder), /is not a regular file/],
    ['a device', withFile('/dev/zero'), /is not a regular file/],
    ['nothing', withFile(join(folder, 'none.bin')), /none\.bin: No such file/],
    [
      'a file cut short',
      withFile(short),
      new RegExp(`has ${fileBytes - 1} bytes now and had ${fileBytes}`),
    ],
    ['a file that grew', withFile(spec.files[0]!.path, fileBytes - 1), /ends at byte/],
    ['a path with a zero byte', withFile(`${spec.files[0]!.path}\0.txt`), /without zero bytes/],
  ]
  for (const [name, broken, message] of cases) {
    await t.rejects(
      addon.loadModel(broken, () => {}),
      { message },
      name,
    )
  }
})

t.test('a file without finite numbers fails its sequences, not the process', async (t) => {
  const bad = makeTinyModel({}, t.teardown)
  writeFileSync(bad.spec.files[0]!.path, Buffer.alloc(bad.spec.files[0]!.byteLength, 0xff))
  const model = await addon.loadModel(bad.spec, () => {})
  const views = model.stepBatches[0]
  views.queryStarts.set([0, 1])
  views.contextLens[0] = 1
  views.sampleRows[0] = 1
  views.topPs[0] = 1
  views.repetitionPenalties[0] = 1
  await model.step(1, 1, 1)
  t.equal(views.sampledTokenIds[0], -1)
  model.close()
})

t.test('an exception of the progress function rejects the load', async (t) => {
  const failing = () => {
    throw new RangeError('the bar is full')
  }
  await t.rejects(addon.loadModel(spec, failing), { message: 'the bar is full' })
})
