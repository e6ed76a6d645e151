import { assert } from './assert.js'

/** After this many preemptions a sequence gets all it can ever need before it runs again. */
export const maxPreemptions = 2

export type SequenceStatus = 'waiting' | 'running' | 'finished'

/** What the scheduler must know of a sequence. Every field is final. */
export interface SequenceSpec {
  /** Unique among the sequences that live. */
  readonly id: number
  /** What prefix reuse is confined to; an integer below 2^53. */
  readonly tenant: number
  /** 1 or more tokens; copied. */
  readonly promptTokenIds: Int32Array
  /** New tokens at most, 1 to `Scheduler.maxTokensFor(prompt's length)`. */
  readonly maxTokens: number
  /** A stop token counts as an ordinary one until this many new tokens exist before it. */
  readonly minTokens: number
  /** Tokens that end the sequence. */
  readonly stopTokenIds: Int32Array
  /** Go on past stop tokens. */
  readonly ignoreStopTokens: boolean
}

/**
 * One choice of one request, as tokens, and its place in the pool. Only the scheduler writes to it.
 *
 *   tokenIds     | prompt                 | output           | pending | unused |
 *                0                 numPromptTokens       numTokens         capacity
 *
 *   KV cache     | computed          | in flight   | not yet              |
 *                0          numComputedTokens    numPlannedTokens
 *
 *   blockTable   | published | private                 | unused           |
 *                0    numPublishedBlocks            numBlocks
 *
 * The steps in flight compute the tokens [numComputedTokens, numPlannedTokens), and sample
 * numPendingTokens tokens that nobody here knows yet: the newest of them is the input of the next
 * step all the same. Token t lies in block blockTable[floor(t / blockSize)], t % blockSize.
 */
export class Sequence {
  readonly id: number
  readonly tenant: number
  /** Which choice of its request it is, from 0. */
  readonly choice: number
  readonly numPromptTokens: number
  readonly maxTokens: number
  readonly minTokens: number
  readonly stopTokenIds: Int32Array
  readonly ignoreStopTokens: boolean

  /** Prompt, then output: [numPromptTokens + maxTokens], of which numTokens are known. */
  readonly tokenIds: Int32Array
  numTokens: number
  /** Tokens that steps in flight sample: 0 to the number of steps in flight. */
  numPendingTokens = 0
  /** Tokens whose K and V are in the cache, as of the last commit. */
  numComputedTokens = 0
  /** The same once every step in flight has run. */
  numPlannedTokens = 0
  /** Prompt tokens found in the cache at the first admission: what the client is told. */
  numCachedTokens = 0

  /** KV block ids in order; the first numBlocks count. */
  readonly blockTable: Int32Array
  numBlocks = 0
  /** Leading blocks that are full, computed and offered for reuse. They are never written again. */
  numPublishedBlocks = 0

  /** Its place in the native sampler state, 0 to maxSequences - 1, while it runs; else -1. */
  samplerSlot = -1
  status: SequenceStatus = 'waiting'
  numPreemptions = 0
  /** Whether the model failed on it, so that what only it computed is not to be reused. */
  isSuspect = false

  /** The newest step that reads or writes its blocks, and its row there. */
  lastStep = 0
  lastRow = -1

  /** Neighbours in the queue that holds the sequence. */
  next: Sequence | undefined = undefined
  previous: Sequence | undefined = undefined

  constructor(spec: SequenceSpec, blockSize: number, choice = 0) {
    this.id = spec.id + choice
    this.tenant = spec.tenant
    this.choice = choice
    this.numPromptTokens = spec.promptTokenIds.length
    this.maxTokens = spec.maxTokens
    this.minTokens = spec.minTokens
    this.stopTokenIds = spec.stopTokenIds
    this.ignoreStopTokens = spec.ignoreStopTokens
    this.tokenIds = new Int32Array(this.numPromptTokens + this.maxTokens)
    this.tokenIds.set(spec.promptTokenIds)
    this.numTokens = this.numPromptTokens
    // The last token of the longest answer is sampled, but never goes through the model.
    const maxCachedTokens = this.numPromptTokens + this.maxTokens - 1
    this.blockTable = new Int32Array(Math.ceil(maxCachedTokens / blockSize))
  }

  /** Output tokens that are known. */
  get numOutputTokens(): number {
    return this.numTokens - this.numPromptTokens
  }

  /** Tokens that no step computes yet, a pending one included; 1 or more. */
  get numUnplannedTokens(): number {
    return this.numTokens + this.numPendingTokens - this.numPlannedTokens
  }

  /** Whether the step in flight samples the last token that maxTokens allows. */
  get isLastTokenPending(): boolean {
    return this.numOutputTokens + this.numPendingTokens === this.maxTokens
  }

  /** Whether it may not be preempted any more, because it waits for, or holds, all it can need. */
  get isProtected(): boolean {
    return this.numPreemptions >= maxPreemptions
  }

  /** Whether this token, not yet appended, ends the sequence. */
  isStop(tokenId: number): boolean {
    if (this.ignoreStopTokens || this.numOutputTokens < this.minTokens) return false
    // A loop, because `includes` of a typed array costs a call out of the compiled code, for every
    // token; that was a third of a whole step.
    for (let i = 0; i < this.stopTokenIds.length; i++) {
      if (this.stopTokenIds[i] === tokenId) return true
    }
    return false
  }

  appendToken(tokenId: number): void {
    assert(
      this.numTokens < this.tokenIds.length,
      'a token came after the last one; sequence',
      this.id,
    )
    this.tokenIds[this.numTokens++] = tokenId
  }
}
