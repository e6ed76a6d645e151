import type { SequenceEnd } from '../../../scheduler/step-plan.js'

/**
 * 64-bit tags, one a slot: what the mock cache holds instead of K and V.
 *
 *   tag(i) = H(tag(i - 1), token(i), i, tenant)
 *
 * A tag is right only if everything before it is: the tokens, their order, their tenant.
 */
export class TagArray {
  readonly #low: Int32Array
  readonly #high: Int32Array

  constructor(length: number) {
    this.#low = new Int32Array(length)
    this.#high = new Int32Array(length)
  }

  get length(): number {
    return this.#low.length
  }

  /** Chains `token` onto the tag before it; `previousIndex` is -1 at the start of a sequence. */
  chain(
    index: number,
    previous: TagArray,
    previousIndex: number,
    token: number,
    position: number,
    tenant: number,
  ): void {
    const low = previousIndex < 0 ? 0x243f6a88 : previous.#low[previousIndex]!
    const high = previousIndex < 0 ? 0x13198a2e : previous.#high[previousIndex]!
    const owner = mix(tenant | 0, Math.floor(tenant / 2 ** 32))
    this.#low[index] = mix(mix(low ^ owner, token), mix(high, position))
    this.#high[index] = mix(mix(high ^ position, owner), mix(low, ~token))
  }

  equals(index: number, other: TagArray, otherIndex: number): boolean {
    return (
      this.#low[index] === other.#low[otherIndex] && this.#high[index] === other.#high[otherIndex]
    )
  }

  /** The token that the mock model samples after this context; `seed` is the request's. */
  sample(index: number, seed: number, vocabSize: number): number {
    return (mix(mix(this.#low[index]!, seed), this.#high[index]!) >>> 0) % vocabSize
  }

  /** Two tags as one number, for a map; `salt` keeps chains apart that have nothing in common. */
  key(index: number, salt: number): number {
    const low = this.#low[index]! >>> 0
    return low * 2 ** 20 + ((this.#high[index]! ^ Math.imul(salt, 0x9e3779b1)) & 0xfffff)
  }

  /** Takes one tag over from another array. */
  set(index: number, other: TagArray, otherIndex: number): void {
    this.#low[index] = other.#low[otherIndex]!
    this.#high[index] = other.#high[otherIndex]!
  }

  copy(from: number, to: number, length: number): void {
    this.#low.copyWithin(to, from, from + length)
    this.#high.copyWithin(to, from, from + length)
  }

  /** What no chain of tokens gives. */
  poison(start: number, end: number): void {
    this.#low.fill(0x0bad0bad, start, end)
    this.#high.fill(-1, start, end)
  }
}

/** One mix of two 32-bit integers; not symmetric. */
export function mix(a: number, b: number): number {
  let hash = Math.imul(a ^ 0x2545f491, 0x9e3779b1) + Math.imul(b ^ (b >>> 15), 0x85ebca77)
  hash = Math.imul(hash ^ (hash >>> 16), 0x21f0aaad)
  return hash ^ (hash >>> 15)
}

/** A request, as the model and the client see it. */
export interface SoloRequest {
  readonly promptTokenIds: Int32Array
  readonly tenant: number
  readonly seed: number
  readonly maxTokens: number
  readonly minTokens: number
  readonly stopTokenIds: Int32Array
  readonly ignoreStopTokens: boolean
  /** The model gives no usable logits when it comes to sample this output token; -1: never. */
  readonly failsAt: number
}

/** What the request must come to, whatever else runs. */
export interface SoloRun {
  readonly outputTokenIds: readonly number[]
  readonly end: SequenceEnd
  /** The tag of each token, prompt and output. */
  readonly tags: TagArray
}

/** Runs a request alone: no scheduler, no blocks, no batch. */
export function runAlone(request: SoloRequest, vocabSize: number): SoloRun {
  const { promptTokenIds, tenant, maxTokens } = request
  const tags = new TagArray(promptTokenIds.length + maxTokens)
  const outputTokenIds: number[] = []
  let position = 0
  const push = (token: number) => {
    tags.chain(position, tags, position - 1, token, position, tenant)
    position++
  }
  for (const token of promptTokenIds) push(token)
  for (;;) {
    if (outputTokenIds.length === request.failsAt) return { outputTokenIds, end: 'failed', tags }
    const token = tags.sample(position - 1, request.seed, vocabSize)
    const mayStop = !request.ignoreStopTokens && outputTokenIds.length >= request.minTokens
    push(token)
    outputTokenIds.push(token)
    if (mayStop && request.stopTokenIds.includes(token)) {
      return { outputTokenIds, end: 'stop', tags }
    }
    if (outputTokenIds.length === maxTokens) return { outputTokenIds, end: 'length', tags }
  }
}
