import type { GenerationDefaults } from './model-description.js'

/** How a model's authors advise to sample it. */
export type AdvisedSampling = Pick<GenerationDefaults, 'temperature' | 'topP' | 'topK' | 'minP'>

/** A model that is known by a short name. */
export interface CatalogEntry {
  readonly shortName: string
  /** Its repository on the hub. */
  readonly repository: string
  /** Also to be had as a Python package (python-package.ts). */
  readonly hasPythonPackage: boolean
  /** The model card's advice; used where the model's own files say nothing. */
  readonly advisedSampling: AdvisedSampling
}

/** SmolLM2's model card. At temperature 1 the small ones wander off the question. */
const smollm2Sampling: AdvisedSampling = { temperature: 0.2, topP: 0.9 }

export const DEFAULT_MODEL = 'smollm2-135m-instruct'

export const CATALOG: readonly CatalogEntry[] = [
  {
    ...entry(DEFAULT_MODEL, 'HuggingFaceTB/SmolLM2-135M-Instruct', smollm2Sampling),
    hasPythonPackage: true,
  },
  entry('smollm2-360m-instruct', 'HuggingFaceTB/SmolLM2-360M-Instruct', smollm2Sampling),
  entry('smollm2-1.7b-instruct', 'HuggingFaceTB/SmolLM2-1.7B-Instruct', smollm2Sampling),
  entry('qwen2.5-0.5b-instruct', 'Qwen/Qwen2.5-0.5B-Instruct'),
  entry('qwen2.5-1.5b-instruct', 'Qwen/Qwen2.5-1.5B-Instruct'),
  entry('qwen3-0.6b', 'Qwen/Qwen3-0.6B'),
  entry('qwen3-1.7b', 'Qwen/Qwen3-1.7B'),
  entry('llama-3.2-1b-instruct', 'meta-llama/Llama-3.2-1B-Instruct'),
  entry('deepseek-r1-distill-qwen-1.5b', 'deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B'),
]

/** The entry of a short name, in any case of letters. */
export function findInCatalog(name: string): CatalogEntry | undefined {
  const wanted = name.toLowerCase()
  return CATALOG.find(({ shortName }) => shortName === wanted)
}

/**
 * The short name that is written most like `name`: what a typing mistake may have meant. A short
 * name's beginning counts first, as people leave endings such as "-instruct" out.
 */
export function nearestShortName(name: string): string {
  const wanted = name.toLowerCase()
  const ranked = CATALOG.map(({ shortName }) => ({
    shortName,
    ...editDistances(wanted, shortName),
  }))
  ranked.sort((a, b) => a.toBeginning - b.toBeginning || a.toWhole - b.toWhole)
  return ranked[0]?.shortName ?? DEFAULT_MODEL
}

function entry(
  shortName: string,
  repository: string,
  advisedSampling: AdvisedSampling = {},
): CatalogEntry {
  return { shortName, repository, hasPythonPackage: false, advisedSampling }
}

/**
 * Letters to insert, delete or replace (Levenshtein) on the way from `a` to the whole of `b`, and
 * to whichever beginning of `b` is nearest.
 */
function editDistances(a: string, b: string): { toWhole: number; toBeginning: number } {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const current = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      current.push(Math.min(replaced, previous[j]! + 1, current[j - 1]! + 1))
    }
    previous = current
  }
  return { toWhole: previous[b.length]!, toBeginning: Math.min(...previous) }
}
