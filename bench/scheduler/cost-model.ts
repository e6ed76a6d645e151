import { readFileSync } from 'node:fs'
import type { StepPlan } from '../../scheduler/step-plan.js'

/** Pairs of a count and the milliseconds measured for it, ascending. */
type Curve = readonly (readonly [number, number])[]

/** What was measured of one model on one device: the content of a file beside this one. */
export interface CostTable {
  readonly device: string
  readonly model: string
  readonly measured: string
  /** By batch size, for sequences of about contextLen tokens; ascending, two or more. */
  readonly decode: readonly { readonly contextLen: number; readonly ms: Curve }[]
  /** One prompt alone, by its tokens. */
  readonly prefill: Curve
}

/** Reads a table. Throws if it is none. */
export function readCostTable(path: string): CostTable {
  const table = JSON.parse(readFileSync(path, 'utf8')) as Partial<CostTable>
  const curves = [...(table.decode ?? []).map(({ ms }) => ms), table.prefill ?? []]
  const isTable =
    curves.length >= 3 &&
    curves.every((curve) => curve.length >= 2 && curve.every((pair) => pair.length === 2))
  if (!isTable) {
    throw new Error(
      `${path} is no cost table: it must have two or more decode curves and a prefill curve, ` +
        'each of two or more pairs [count, ms]',
    )
  }
  return table as CostTable
}

/** The value at x: straight between the points, the outermost lines go on. */
export function interpolate(curve: Curve, x: number): number {
  let i = 1
  while (i < curve.length - 1 && curve[i]![0] < x) i++
  const [x0, y0] = curve[i - 1]!
  const [x1, y1] = curve[i]!
  return y0 + ((x - x0) / (x1 - x0)) * (y1 - y0)
}

/**
 * Milliseconds that a step takes: decodes by their number and mean context, straight between the
 * measured curves; prompt tokens as much more as they cost above an empty step, because the weights
 * are read once for both. What a later chunk pays for the attention to those before it is left out.
 */
export class CostModel {
  readonly #table: CostTable
  /** What a step costs that computes next to nothing: the weights are read. */
  readonly #baseMs: number

  constructor(table: CostTable) {
    this.#table = table
    this.#baseMs = Math.min(interpolate(table.decode[0]!.ms, 1), interpolate(table.prefill, 1))
  }

  stepMs(plan: StepPlan): number {
    let numDecodes = 0
    let numDecodeContext = 0
    let numPromptTokens = 0
    for (const { start, numTokens } of plan.rows) {
      if (numTokens === 1) {
        numDecodes++
        numDecodeContext += start + 1
      } else numPromptTokens += numTokens
    }
    const decodeMs = numDecodes > 0 ? this.decodeMs(numDecodes, numDecodeContext / numDecodes) : 0
    if (numPromptTokens === 0) return decodeMs
    const prefillMs = Math.max(this.#baseMs, interpolate(this.#table.prefill, numPromptTokens))
    return numDecodes === 0 ? prefillMs : decodeMs + prefillMs - this.#baseMs
  }

  /** Milliseconds of one token for each of so many sequences. */
  decodeMs(numSequences: number, contextLen: number): number {
    const points = this.#table.decode.map((curve) => {
      return [curve.contextLen, interpolate(curve.ms, numSequences)] as const
    })
    return Math.max(this.#baseMs / 2, interpolate(points, contextLen))
  }
}
