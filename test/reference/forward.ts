import type { ModelConfig } from '../../engine/model/model-description.js'

/**
 * The forward pass of the Llama family in double precision, written from the papers: no cache, no
 * batch, one sequence from its first token. Slow and meant to be obviously right.
 */

/** Row-major values by GGUF tensor name, rows in true order. */
export type ReferenceWeights = ReadonlyMap<string, Float32Array>

export interface ReferenceModel {
  readonly config: ModelConfig
  readonly weights: ReferenceWeights
}

type Rows = Float64Array[]

/** Logits at every position: row i is for the token that follows tokenIds[i]. */
export function allLogits(model: ReferenceModel, tokenIds: ArrayLike<number>): Float64Array[] {
  const { config } = model
  const embedding = tensor(model, 'token_embd.weight')
  const x: Rows = Array.from(tokenIds, (id) => rowOf(embedding, id, config.hiddenSize))
  for (let layer = 0; layer < config.numLayers; layer++) {
    const attended = attention(model, layer, normRows(x, weight(model, layer, 'attn_norm'), config))
    addTo(x, linear(attended, weight(model, layer, 'attn_output')))
    const normed = normRows(x, weight(model, layer, 'ffn_norm'), config)
    const gate = linear(normed, weight(model, layer, 'ffn_gate'))
    const up = linear(normed, weight(model, layer, 'ffn_up'))
    addTo(x, linear(swiGlu(gate, up), weight(model, layer, 'ffn_down')))
  }
  const normed = normRows(x, tensor(model, 'output_norm.weight'), config)
  const head = config.hasTiedEmbeddings ? embedding : tensor(model, 'output.weight')
  return linear(normed, head)
}

/** Index of the largest value, lowest first among equals, and its lead over the second. */
export function argmax(values: Float64Array): { index: number; margin: number } {
  let index = 0
  for (let i = 1; i < values.length; i++) if (values[i]! > values[index]!) index = i
  const second = values.reduce((best, v, i) => (i === index ? best : Math.max(best, v)), -Infinity)
  return { index, margin: values[index]! - second }
}

function attention(model: ReferenceModel, layer: number, x: Rows): Rows {
  const { numHeads, numKvHeads, headDim } = model.config
  const [q, k, v] = ['attn_q', 'attn_k', 'attn_v'].map((name) => {
    const rows = linear(x, weight(model, layer, name))
    const bias = model.weights.get(`blk.${layer}.${name}.bias`)
    if (bias !== undefined) for (const row of rows) for (const i of row.keys()) row[i]! += bias[i]!
    return rows
  }) as [Rows, Rows, Rows]
  turnHeads(model, q, weightIfAny(model, layer, 'attn_q_norm'), numHeads)
  turnHeads(model, k, weightIfAny(model, layer, 'attn_k_norm'), numKvHeads)

  return q.map((row, i) => {
    const out = new Float64Array(numHeads * headDim)
    for (let head = 0; head < numHeads; head++) {
      const start = Math.floor(head / (numHeads / numKvHeads)) * headDim
      const scores = k.slice(0, i + 1).map((key) => {
        let sum = 0
        for (let d = 0; d < headDim; d++) sum += row[head * headDim + d]! * key[start + d]!
        return sum / Math.sqrt(headDim)
      })
      const highest = Math.max(...scores)
      const shares = scores.map((score) => Math.exp(score - highest))
      const total = shares.reduce((a, b) => a + b)
      for (const [j, share] of shares.entries()) {
        for (let d = 0; d < headDim; d++) {
          out[head * headDim + d]! += (share / total) * v[j]![start + d]!
        }
      }
    }
    return out
  })
}

/** Per head: Qwen3's norm where there is one, then the rotary embedding on two halves. */
function turnHeads(
  model: ReferenceModel,
  rows: Rows,
  norm: Float32Array | undefined,
  numHeads: number,
): void {
  const { headDim } = model.config
  const frequencies = rotaryFrequencies(model)
  for (const [position, row] of rows.entries()) {
    for (let head = 0; head < numHeads; head++) {
      const x = row.subarray(head * headDim, (head + 1) * headDim)
      if (norm !== undefined) x.set(rmsNorm(x, norm, model.config.rmsNormEpsilon))
      const half = headDim / 2
      for (let j = 0; j < half; j++) {
        const [a, b] = [x[j]!, x[j + half]!]
        const angle = position * frequencies[j]!
        x[j] = a * Math.cos(angle) - b * Math.sin(angle)
        x[j + half] = b * Math.cos(angle) + a * Math.sin(angle)
      }
    }
  }
}

function rotaryFrequencies({ config, weights }: ReferenceModel): number[] {
  const divisors = weights.get('rope_freqs.weight')
  return Array.from({ length: config.headDim / 2 }, (_, j) => {
    const frequency = config.ropeTheta ** ((-2 * j) / config.headDim)
    if (divisors !== undefined) return frequency / divisors[j]!
    return config.ropeScaling === null ? frequency : llama3Frequency(frequency, config.ropeScaling)
  })
}

/** Llama 3.1: long waves are stretched by `factor`, short ones kept, those between blended. */
function llama3Frequency(
  frequency: number,
  scaling: NonNullable<ModelConfig['ropeScaling']>,
): number {
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high } = scaling
  const numTurns = (scaling.originalMaxContextLen * frequency) / (2 * Math.PI)
  if (numTurns < low) return frequency / factor
  if (numTurns > high) return frequency
  const blend = (numTurns - low) / (high - low)
  return ((1 - blend) * frequency) / factor + blend * frequency
}

function linear(x: Rows, weights: Float32Array): Rows {
  const numIn = x[0]!.length
  const numOut = weights.length / numIn
  return x.map((row) => {
    const out = new Float64Array(numOut)
    for (let o = 0; o < numOut; o++) {
      let sum = 0
      for (let i = 0; i < numIn; i++) sum += row[i]! * weights[o * numIn + i]!
      out[o] = sum
    }
    return out
  })
}

function normRows(x: Rows, weights: Float32Array, config: ModelConfig): Rows {
  return x.map((row) => rmsNorm(row, weights, config.rmsNormEpsilon))
}

function rmsNorm(x: Float64Array, weights: Float32Array, epsilon: number): Float64Array {
  const meanSquare = x.reduce((sum, value) => sum + value * value, 0) / x.length
  return x.map((value, i) => (weights[i]! * value) / Math.sqrt(meanSquare + epsilon))
}

function swiGlu(gate: Rows, up: Rows): Rows {
  return gate.map((row, t) => row.map((g, i) => (up[t]![i]! * g) / (1 + Math.exp(-g))))
}

function addTo(x: Rows, y: Rows): void {
  for (const [t, row] of x.entries()) for (const i of row.keys()) row[i]! += y[t]![i]!
}

function rowOf(weights: Float32Array, row: number, width: number): Float64Array {
  return Float64Array.from(weights.subarray(row * width, (row + 1) * width))
}

function tensor(model: ReferenceModel, name: string): Float32Array {
  const found = model.weights.get(name)
  if (found === undefined) throw new Error(`the reference model has no ${name}`)
  return found
}

function weight(model: ReferenceModel, layer: number, name: string): Float32Array {
  return tensor(model, `blk.${layer}.${name}.weight`)
}

function weightIfAny(model: ReferenceModel, layer: number, name: string): Float32Array | undefined {
  return model.weights.get(`blk.${layer}.${name}.weight`)
}
