import { execFileSync } from 'node:child_process'
import t from 'tap'
import { curlLine, memoryPlanLines, samplingLine } from '../../server/start-report.js'

t.test('the plan of memory says what fits', async (t) => {
  const plan = {
    device: 'cpu',
    cacheType: 'float16',
    memoryLimitBytes: 8e9,
    weightsBytes: 98e6,
    kvCacheBytes: 188.7e6,
    workspaceBytes: 10e6,
    samplerBytes: 2e6,
    numBlocks: 1024,
    blockSize: 16,
    numCacheTokens: 16_384,
    maxContextLen: 8192,
    numThreads: 2,
    kernels: 'avx2',
  } as const
  t.strictSame(memoryPlanLines(plan), [
    'Memory: 299 MB of the 8.00 GB there are',
    '  weights    98.0 MB',
    '  KV cache    189 MB  1,024 blocks of 16 tokens in float16: 16,384 tokens fit',
    '  workspace  12.0 MB',
    '  longest sequence 8,192 tokens; 2 threads with avx2 kernels',
  ])
  const onGpu = { ...plan, device: 'cuda', cacheType: 'bfloat16', kernels: 'NVIDIA H200' } as const
  t.match(memoryPlanLines(onGpu), [
    'Memory: 299 MB of the 8.00 GB of the GPU to use',
    /weights/,
    /in bfloat16/,
    /workspace/,
    '  longest sequence 8,192 tokens; computed on NVIDIA H200',
  ])
})

t.test('the line for curl survives a shell, whatever the model is called', async (t) => {
  for (const model of ['smollm2', 'owner/name:file.gguf', `it's "odd" $HOME \`x\` \\`]) {
    const line = curlLine('http://127.0.0.1:8000', model)
    t.match(line, /^curl http:\/\/127\.0\.0\.1:8000\/v1\/chat\/completions /)
    const printed = execFileSync('sh', ['-c', line.replace(/^curl/, 'printf "%s\\n"')])
    const body = JSON.parse(printed.toString().trim().split('\n').at(-1)!)
    t.match(body, { model, messages: [{ role: 'user', content: 'Hello!' }] })
  }
})

t.test('what answers are sampled with, only as long as it must be', async (t) => {
  t.equal(
    samplingLine({ eosTokenIds: [2] }),
    'Sampling, unless a request says otherwise: temperature 1, top_p 1',
  )
  t.match(
    samplingLine({
      eosTokenIds: [2],
      temperature: 0.6,
      topK: 20,
      minP: 0.1,
      repetitionPenalty: 1.1,
    }),
    'temperature 0.6, top_p 1, top_k 20, min_p 0.1, repetition_penalty 1.1',
  )
})
