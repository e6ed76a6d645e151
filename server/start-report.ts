import type { MemoryPlanReport } from '../engine/engine-options.js'
import type { GenerationDefaults } from '../engine/model/model-description.js'
import { formatBytes } from '../engine/model/progress-bar.js'

/** Where the memory went and how many tokens fit, for the person who starts the server. */
export function memoryPlanLines(plan: MemoryPlanReport): readonly string[] {
  const rows: readonly (readonly [string, number, string])[] = [
    ['weights', plan.weightsBytes, ''],
    [
      'KV cache',
      plan.kvCacheBytes,
      `${count(plan.numBlocks)} blocks of ${plan.blockSize} tokens in ${plan.cacheType}: ${count(plan.numCacheTokens)} tokens fit`,
    ],
    ['workspace', plan.workspaceBytes + plan.samplerBytes, ''],
  ]
  const total = plan.weightsBytes + plan.kvCacheBytes + plan.workspaceBytes + plan.samplerBytes
  const isOnGpu = plan.device === 'cuda'
  const where = isOnGpu
    ? `computed on ${plan.kernels}`
    : `${plan.numThreads} threads with ${plan.kernels} kernels`
  return [
    `Memory: ${formatBytes(total)} of the ${formatBytes(plan.memoryLimitBytes)} ${isOnGpu ? 'of the GPU to use' : 'there are'}`,
    ...rows.map(([label, numBytes, note]) =>
      `  ${label.padEnd(10)}${formatBytes(numBytes).padStart(8)}  ${note}`.trimEnd(),
    ),
    `  longest sequence ${count(plan.maxContextLen)} tokens; ${where}`,
  ]
}

/** What an answer is sampled with where the request says nothing: no surprise for anybody. */
export function samplingLine(defaults: GenerationDefaults): string {
  const { temperature = 1, topP = 1, topK = 0, minP = 0, repetitionPenalty = 1 } = defaults
  const rows = [`temperature ${temperature}`, `top_p ${topP}`]
  if (topK > 0) rows.push(`top_k ${topK}`)
  if (minP > 0) rows.push(`min_p ${minP}`)
  if (repetitionPenalty !== 1) rows.push(`repetition_penalty ${repetitionPenalty}`)
  return `Sampling, unless a request says otherwise: ${rows.join(', ')}`
}

/** A line to paste into a shell, whatever the model is called. */
export function curlLine(baseUrl: string, model: string): string {
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'Hello!' }] })
  const quoted = `'${body.replaceAll("'", "'\\''")}'`
  return `curl ${baseUrl}/v1/chat/completions -H 'content-type: application/json' -d ${quoted}`
}

function count(value: number): string {
  return value.toLocaleString('en-US')
}
