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
 *   tokenIds     | prompt                    | output              | unused    |
 *                0                    numPromptTokens           numTokens   capacity
 *
 *   KV cache     | computed          | scheduled | not yet        |
 *                0          numComputedTokens    |
 *                                     numComputedTokens + numScheduledTokens
 *
 *   blockTable   | published | private            | unused                     |
 *                0    numPublishedBlocks      numBlocks
 *
 * While a step is in flight, it computes the tokens [numComputedTokens, numComputedTokens +
 * numScheduledTokens). Token t lies in block blockTable[floor(t / blockSize)], t % blockSize.
 */
export class Sequence {
  readonly id: number
  readonly tenant: number
  readonly numPromptTokens: number
  readonly maxTokens: number
  readonly minTokens: number
  readonly stopTokenIds: Int32Array
  readonly ignoreStopTokens: boolean

  /** Prompt, then output: [numPromptTokens + maxTokens], of which numTokens are known. */
  readonly tokenIds: Int32Array
  numTokens: number
  /** Tokens whose K and V are in the cache, before the step in flight. */
  numComputedTokens = 0
  /** Tokens the step in flight computes; 0 if it does not run this sequence. */
  numScheduledTokens = 0
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

  /** Neighbours in the queue that holds the sequence. */
  next: Sequence | undefined = undefined
  previous: Sequence | undefined = undefined

  constructor(spec: SequenceSpec, blockSize: number) {
    this.id = spec.id
    this.tenant = spec.tenant
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

  get numOutputTokens(): number {
    return this.numTokens - this.numPromptTokens
  }

  /** Tokens that must still go through the model before the next one can be sampled; 1 or more. */
  get numUncomputedTokens(): number {
    return this.numTokens - this.numComputedTokens
  }

  /** Whether the step in flight samples for it: a chunk of a prompt that is not the last does not. */
  get samples(): boolean {
    return this.numComputedTokens + this.numScheduledTokens === this.numTokens
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

/**
 * Sequences in order, linked through their own fields: O(1) at both ends and in the middle. A
 * sequence is in one queue at a time.
 */
export class SequenceQueue {
  first: Sequence | undefined = undefined
  last: Sequence | undefined = undefined
  length = 0

  pushBack(sequence: Sequence): void {
    sequence.previous = this.last
    if (this.last === undefined) this.first = sequence
    else this.last.next = sequence
    this.last = sequence
    this.length++
  }

  pushFront(sequence: Sequence): void {
    sequence.next = this.first
    if (this.first === undefined) this.last = sequence
    else this.first.previous = sequence
    this.first = sequence
    this.length++
  }

  remove(sequence: Sequence): void {
    const { previous, next } = sequence
    assert(
      previous === undefined ? this.first === sequence : previous.next === sequence,
      'a sequence was removed from a queue it is not in; sequence',
      sequence.id,
    )
    if (previous === undefined) this.first = next
    else previous.next = next
    if (next === undefined) this.last = previous
    else next.previous = previous
    sequence.previous = undefined
    sequence.next = undefined
    this.length--
  }
}
