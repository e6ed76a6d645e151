import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { NativeModelSpec } from '../../../engine/core/addon.js'
import type { ModelConfig, TensorRef, WeightType } from '../../../engine/model/model-description.js'
import type { ReferenceModel } from '../../reference/forward.js'
import { cpuNative } from '../../support/device-defaults.js'

export interface TinyModel extends ReferenceModel {
  readonly spec: NativeModelSpec
}

const config: ModelConfig = {
  architecture: 'llama',
  numLayers: 2,
  hiddenSize: 64,
  intermediateSize: 96,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 16,
  // Not a multiple of any panel: the last rows are padding that must never be picked.
  vocabSize: 131,
  maxContextLen: 256,
  rmsNormEpsilon: 1e-5,
  ropeTheta: 10000,
  ropeScaling: null,
  hasQkvBias: false,
  hasQkNorm: false,
  hasTiedEmbeddings: false,
}

export interface TinyOptions {
  readonly config?: Partial<ModelConfig>
  readonly spec?: Partial<NativeModelSpec>
  readonly seed?: number
  /** Types by the end of a tensor's name, instead of f32. */
  readonly types?: Readonly<Record<string, 'f16' | 'bf16'>>
  /** Store q and k as GGUF llama files do. */
  readonly isInterleaved?: boolean
  /** Bring the frequency divisors as a tensor. */
  readonly hasRopeFreqs?: boolean
}

/** Writes a seeded random model into a temporary folder; `cleanUp` gets a function to remove it. */
export function makeTinyModel(
  options: TinyOptions,
  cleanUp: (remove: () => void) => void,
): TinyModel {
  const folder = mkdtempSync(join(tmpdir(), 'kvasir-tiny-'))
  cleanUp(() => rmSync(folder, { recursive: true }))
  const full = { ...config, ...options.config }
  const random = normalNumbers(options.seed ?? 1)
  const weights = new Map<string, Float32Array>()
  const tensors: TensorRef[] = []
  const pieces: Uint8Array[] = []
  let offset = 0
  for (const [name, shape] of shapesOf(full, options.hasRopeFreqs ?? false)) {
    const type = typeOf(name, options)
    const values = randomValues(name, shape, random)
    const numInterleavedHeads = options.isInterleaved ? interleavedHeads(name, full) : 0
    const stored =
      numInterleavedHeads === 0 ? values : interleave(values, numInterleavedHeads, full.headDim)
    const { bytes, rounded } = encode(type, stored)
    weights.set(
      name,
      numInterleavedHeads === 0
        ? rounded
        : unInterleave(rounded, numInterleavedHeads, full.headDim),
    )
    const byteLength = bytes.byteLength
    tensors.push({ name, type, shape, file: 0, offset, byteLength, numInterleavedHeads })
    pieces.push(bytes)
    offset += byteLength
  }
  const path = join(folder, 'weights.bin')
  writeFileSync(path, Buffer.concat(pieces))
  return { config: full, weights, spec: makeSpec(full, path, offset, tensors, options.spec) }
}

function makeSpec(
  full: ModelConfig,
  path: string,
  byteLength: number,
  tensors: TensorRef[],
  changes: Partial<NativeModelSpec> = {},
): NativeModelSpec {
  return {
    ...cpuNative,
    config: full,
    files: [{ path, byteLength }],
    tensors,
    numThreads: 2,
    numBlocks: 128,
    blockSize: 16,
    kvCacheType: 'float32',
    maxTokensPerStep: 64,
    maxSequences: 24,
    maxBlocksPerSequence: 16,
    maxAdjustments: 256,
    ...changes,
  }
}

function shapesOf(full: ModelConfig, hasRopeFreqs: boolean): [string, number[]][] {
  const { hiddenSize: hidden, intermediateSize, headDim, vocabSize } = full
  const [q, kv] = [full.numHeads * headDim, full.numKvHeads * headDim]
  const shapes: [string, number[]][] = [['token_embd.weight', [vocabSize, hidden]]]
  for (let layer = 0; layer < full.numLayers; layer++) {
    const add = (name: string, shape: number[]) => shapes.push([`blk.${layer}.${name}`, shape])
    add('attn_norm.weight', [hidden])
    add('attn_q.weight', [q, hidden])
    add('attn_k.weight', [kv, hidden])
    add('attn_v.weight', [kv, hidden])
    if (full.hasQkvBias) {
      add('attn_q.bias', [q])
      add('attn_k.bias', [kv])
      add('attn_v.bias', [kv])
    }
    if (full.hasQkNorm) {
      add('attn_q_norm.weight', [headDim])
      add('attn_k_norm.weight', [headDim])
    }
    add('attn_output.weight', [hidden, q])
    add('ffn_norm.weight', [hidden])
    add('ffn_gate.weight', [intermediateSize, hidden])
    add('ffn_up.weight', [intermediateSize, hidden])
    add('ffn_down.weight', [hidden, intermediateSize])
  }
  shapes.push(['output_norm.weight', [hidden]])
  if (!full.hasTiedEmbeddings) shapes.push(['output.weight', [vocabSize, hidden]])
  if (hasRopeFreqs) shapes.push(['rope_freqs.weight', [headDim / 2]])
  return shapes
}

/** Wide enough that answers wander; norms and divisors near or above 1. */
function randomValues(name: string, shape: number[], random: () => number): Float32Array {
  const length = shape.reduce((a, b) => a * b)
  const values = new Float32Array(length)
  if (name.startsWith('rope_freqs')) return values.map((_, i) => 1 + i / 2)
  if (name.includes('norm')) return values.map(() => 1 + 0.3 * random())
  if (name.endsWith('.bias')) return values.map(() => 0.5 * random())
  const scale = name === 'token_embd.weight' ? 1 : 1.5 / Math.sqrt(shape[1]!)
  return values.map(() => scale * random())
}

function typeOf(name: string, options: TinyOptions): WeightType {
  for (const [end, type] of Object.entries(options.types ?? {})) if (name.endsWith(end)) return type
  return 'f32'
}

function interleavedHeads(name: string, full: ModelConfig): number {
  if (name.includes('attn_q.')) return full.numHeads
  return name.includes('attn_k.') ? full.numKvHeads : 0
}

/** True row j of a head goes to stored row 2j, true row j + d/2 to stored row 2j + 1. */
function interleave(values: Float32Array, numHeads: number, headDim: number): Float32Array {
  return permuteRows(values, numHeads * headDim, (row) => storedRow(row, headDim))
}

function unInterleave(stored: Float32Array, numHeads: number, headDim: number): Float32Array {
  const numRows = numHeads * headDim
  const trueRow = new Map(
    Array.from({ length: numRows }, (_, row) => [storedRow(row, headDim), row]),
  )
  return permuteRows(stored, numRows, (row) => trueRow.get(row)!)
}

function storedRow(row: number, headDim: number): number {
  const [head, i, half] = [Math.floor(row / headDim), row % headDim, headDim / 2]
  return head * headDim + (i < half ? 2 * i : 2 * (i - half) + 1)
}

function permuteRows(values: Float32Array, numRows: number, to: (row: number) => number) {
  const width = values.length / numRows
  const out = new Float32Array(values.length)
  for (let row = 0; row < numRows; row++) {
    out.set(values.subarray(row * width, (row + 1) * width), to(row) * width)
  }
  return out
}

/** The bytes of a type and the values they stand for. Truncates: any representable value will do. */
function encode(type: WeightType, values: Float32Array) {
  if (type === 'f32') {
    return { bytes: new Uint8Array(values.buffer.slice(0)), rounded: values }
  }
  const bits = new Uint32Array(values.buffer.slice(0))
  const rounded = new Float32Array(values.length)
  const out = new Uint16Array(values.length)
  for (const [i, b] of bits.entries()) {
    // f16 keeps 10 of 23 bits of the fraction and a smaller exponent; values here are normal in it
    // or become zero.
    const kept = type === 'bf16' ? b & 0xffff0000 : b & 0xffffe000
    const exponent = ((b >>> 23) & 0xff) - 112
    const isZero = type === 'f16' && exponent <= 0
    rounded[i] = isZero ? 0 : new Float32Array(Uint32Array.of(kept).buffer)[0]!
    const half = ((b >>> 16) & 0x8000) | (exponent << 10) | ((b >>> 13) & 0x3ff)
    out[i] = type === 'bf16' ? b >>> 16 : isZero ? 0 : half
  }
  return { bytes: new Uint8Array(out.buffer), rounded }
}

/** Standard normal numbers from a small generator of our own, the same on every machine. */
export function normalNumbers(seed: number): () => number {
  const uniform = uniformNumbers(seed)
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())
}

/** Numbers in [0, 1): a 32-bit counter through an integer mix. */
export function uniformNumbers(seed: number): () => number {
  let state = seed * 0x9e3779b9
  return () => {
    state = (state + 0x9e3779b9) | 0
    let x = state
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad)
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97)
    return ((x ^ (x >>> 15)) >>> 0) / 2 ** 32
  }
}
