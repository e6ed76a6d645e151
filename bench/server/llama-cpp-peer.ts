import process from 'node:process'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

/**
 * llama.cpp in a process of its own, through node-llama-cpp's lowest interface: one call a batch,
 * greedy sampling in native code, no JavaScript queue between. Reads one JSON request a line:
 * {"promptTokenIds": [...], "numNewTokens": n}, answers {"prefillMs", "decodeMs"}.
 *
 * argv: the package's entry file, the model file, the number of threads.
 */
interface PeerContext {
  init(): Promise<boolean>
  initBatch(size: number): void
  addToBatch(seq: number, position: number, tokens: Uint32Array, logits: Uint32Array): Uint32Array
  decodeBatch(): Promise<void>
  sampleToken(index: number, sampler: unknown): Promise<number>
  disposeSequence(seq: number): void
}

interface PeerBindings {
  AddonContext: new (model: unknown, params: object) => PeerContext
  AddonSampler: new (model: unknown) => { applyConfig(config: object): void }
  systemInfo(): string
}

interface PeerPackage {
  getLlama(options: object): Promise<{
    loadModel(options: object): Promise<{ readonly _model: unknown }>
    readonly _bindings: PeerBindings
  }>
}

const maxBatchSize = 512
const [entryPath = '', modelPath = '', numThreads = '2'] = process.argv.slice(2)
const { getLlama } = (await import(pathToFileURL(entryPath).href)) as PeerPackage
const llama = await getLlama({ gpu: false, build: 'never', maxThreads: Number(numThreads) })
const model = await llama.loadModel({ modelPath })
const context = new llama._bindings.AddonContext(model._model, {
  contextSize: 4096,
  batchSize: maxBatchSize,
  sequences: 1,
  threads: Number(numThreads),
  flashAttention: true,
})
if (!(await context.init())) throw new Error('llama.cpp could not make a context')
const sampler = new llama._bindings.AddonSampler(model._model)
sampler.applyConfig({ temperature: 0 })
process.stdout.write(`${JSON.stringify({ systemInfo: llama._bindings.systemInfo() })}\n`)

for await (const line of createInterface({ input: process.stdin })) {
  const { promptTokenIds, numNewTokens } = JSON.parse(line)
  process.stdout.write(`${JSON.stringify(await measure(promptTokenIds, numNewTokens))}\n`)
}

async function measure(promptTokenIds: number[], numNewTokens: number) {
  context.disposeSequence(0)
  const startedAt = performance.now()
  let token = await feed(0, Uint32Array.from(promptTokenIds))
  const prefilledAt = performance.now()
  for (let i = 1; i < numNewTokens; i += 1) {
    token = await feed(promptTokenIds.length + i - 1, Uint32Array.of(token))
  }
  return { prefillMs: prefilledAt - startedAt, decodeMs: performance.now() - prefilledAt }
}

/** One batch, and the token its last position gives. */
async function feed(position: number, tokens: Uint32Array): Promise<number> {
  context.initBatch(tokens.length)
  const last = Uint32Array.of(tokens.length - 1)
  const [logitIndex = 0] = context.addToBatch(0, position, tokens, last)
  await context.decodeBatch()
  return context.sampleToken(logitIndex, sampler)
}
