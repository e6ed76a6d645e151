import { assert } from './assert.js'
import { rootParent } from './block-hash.js'
import type { TenantAccount } from './tenants.js'

/** After this many preemptions a sequence gets all it can ever need before it runs again. */
export const maxPreemptions = 2

/** Priorities are integers; the lowest goes first. Without one a sequence has 0. */
export const minPriority = -8
export const maxPriority = 7

export type SequenceStatus = 'waiting' | 'running' | 'finished'

/** What the scheduler must know of a request. Every field is final. */
export interface SequenceSpec {
  /** The first choice's; the others count on from it. Unique among the sequences that live. */
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
  /** minPriority to maxPriority, 0 if left out. */
  readonly priority?: number
  /** Answers to the one prompt, each a sequence; 1 if left out. */
  readonly numChoices?: number
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
  /** Every choice of the request, this one included; also those that have ended. */
  choices: readonly Sequence[] = [this]
  readonly priority: number
  readonly account: TenantAccount
  readonly arrivedMs: number
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
  /** What was found at the last look-up: so many blocks, and the publication of the last of them. */
  numFoundBlocks = 0
  foundPublication = 0
  /** The parent of the first block's key; the pool's root when it was last looked up. */
  root = rootParent

  /** Its place in the native sampler state, 0 to maxSequences - 1, while it runs; else -1. */
  samplerSlot = -1
  status: SequenceStatus = 'waiting'
  numPreemptions = 0
  /** Prompts of better priority that went before its own while that was half computed. */
  numOvertakes = 0

  /** The newest step that reads or writes its blocks, and its row there. */
  lastStep = 0
  lastRow = -1

  /** Neighbours in the queue that holds the sequence. */
  next: Sequence | undefined = undefined
  previous: Sequence | undefined = undefined

  constructor(
    spec: SequenceSpec,
    blockSize: number,
    account: TenantAccount,
    choice = 0,
    arrivedMs = 0,
  ) {
    this.id = spec.id + choice
    this.tenant = spec.tenant
    this.choice = choice
    this.priority = spec.priority ?? 0
    this.account = account
    this.arrivedMs = arrivedMs
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

  /** Whether the next step may compute one token of it, the newest. */
  get isDecode(): boolean {
    return this.numUnplannedTokens === 1 && !this.isLastTokenPending
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

/** Throws if a request makes no sense. `limit` is what `Scheduler.maxTokensFor` says of its prompt. */
export function checkSpec(spec: SequenceSpec, limit: number): void {
  const { id, tenant, promptTokenIds, maxTokens, priority = 0, numChoices = 1 } = spec
  const isPriority =
    Number.isInteger(priority) && priority >= minPriority && priority <= maxPriority
  assert(isPriority, `a priority must be ${minPriority} to ${maxPriority}, not`, priority)
  const isCount = Number.isInteger(numChoices) && numChoices >= 1
  assert(isCount, 'a request must have at least one choice, not', numChoices)
  assert(Number.isSafeInteger(tenant), 'a tenant must be an integer below 2^53', tenant)
  assert(promptTokenIds.length >= 1, 'a prompt needs at least one token; sequence', id)
  assert(
    Number.isInteger(maxTokens) && maxTokens >= 1 && maxTokens <= limit,
    `sequence ${id}: maxTokens must be 1 to maxTokensFor(prompt), which is ${limit}`,
    maxTokens,
  )
}
