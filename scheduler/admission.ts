import type { BlockPool } from './block-pool.js'
import type { Sequence } from './sequence.js'
import type { SequenceQueue } from './sequence-queue.js'
import type { StepPlan } from './step-plan.js'

/** At most one block in this many is kept back from new sequences for those that run. */
const reserveDivisor = 64

/**
 * Fills the block table of a sequence that is about to run: published blocks as far as its tokens
 * are found, then blocks to write to for all tokens it has. A protected sequence gets every block
 * it can ever need instead, so that it never needs another.
 *
 * Takes nothing if the sequence must wait: `no_room` if the pool does not have enough, `later` if
 * somebody computes right now what it would compute.
 */
export function takeTable(
  sequence: Sequence,
  pool: BlockPool,
  running: SequenceQueue,
  plan: StepPlan,
  isMiss: boolean,
): 'taken' | 'no_room' | 'later' {
  const { blockSize } = pool
  const { blockTable } = sequence
  const numNeeded = sequence.isProtected
    ? blockTable.length
    : Math.ceil(sequence.numTokens / blockSize)
  // Room for those that run to grow a little, before the newcomer would be preempted for it.
  const numReserved = Math.min(running.length, Math.ceil(pool.numBlocks / reserveDivisor))
  const numAvailable = pool.numAvailableBlocks - numReserved
  if (numAvailable < 1) return 'no_room'

  // The logits of the last token pick the next one, so it is computed even if it is cached. Its
  // block is then computed as a whole: a published block is shared, and never written again.
  const maxHits = isMiss ? 0 : Math.floor((sequence.numTokens - 1) / blockSize)
  const numHits = findPrefix(sequence, maxHits, pool)
  const isComputed = numHits === maxHits || !isBeingComputed(sequence, numHits, pool, running)
  const fork = numHits < maxHits || isMiss ? undefined : findFork(sequence, pool)
  if (!isComputed || fork === 'later') return 'later'
  let numRevived = 0
  for (let i = 0; i < numHits; i++) if (pool.isCached(blockTable[i]!)) numRevived++
  // A hit that nobody holds is available as well, until it is held here.
  if (numNeeded - numHits > numAvailable - numRevived) return 'no_room'

  for (let i = 0; i < numHits; i++) pool.share(blockTable[i]!)
  for (let i = numHits; i < numNeeded; i++) blockTable[i] = pool.take()
  sequence.numBlocks = numNeeded
  sequence.numPublishedBlocks = numHits
  sequence.numComputedTokens = numHits * blockSize
  if (fork !== undefined) {
    plan.addBlockCopy(fork.blockTable[numHits]!, blockTable[numHits]!)
    // The step reads its blocks, so they do not go back before it.
    fork.lastStep = plan.stepNumber
    sequence.numComputedTokens = sequence.numTokens - 1
  }
  sequence.numPlannedTokens = sequence.numComputedTokens
  return 'taken'
}

/**
 * Looks up the blocks of its first tokens, at most `maxHits`. Whoever waits is asked for in every
 * step, and a long prompt has thousands of blocks: if what was found the last time is still
 * published, the look-up goes on from there.
 */
function findPrefix(sequence: Sequence, maxHits: number, pool: BlockPool): number {
  const { tenant, tokenIds, blockTable, numFoundBlocks } = sequence
  const isKnown =
    numFoundBlocks > 0 &&
    numFoundBlocks <= maxHits &&
    sequence.root === pool.root &&
    pool.publicationOf(blockTable[numFoundBlocks - 1]!) === sequence.foundPublication
  const numKnown = isKnown ? numFoundBlocks : 0
  const numHits = pool.matchPrefix(tenant, tokenIds, maxHits, blockTable, numKnown)
  sequence.root = pool.root
  sequence.numFoundBlocks = numHits
  sequence.foundPublication = numHits === 0 ? 0 : pool.publicationOf(blockTable[numHits - 1]!)
  return numHits
}

/**
 * Whether a running sequence will publish the block that this one misses first, without another
 * token having to be sampled for it. Then it is a matter of steps, and waiting saves the work: of
 * equal prompts that come together one is computed, and the others find it done. Should the other
 * one end before, nobody computes the block any more, and this sequence does it.
 */
function isBeingComputed(
  sequence: Sequence,
  numHits: number,
  pool: BlockPool,
  running: SequenceQueue,
): boolean {
  const { blockSize } = pool
  const end = (numHits + 1) * blockSize
  for (let other = running.first; other !== undefined; other = other.next) {
    // Its first block that is not published; the blocks before it are the same if their last is.
    const first = Math.min(other.numPublishedBlocks, numHits)
    const isSameSoFar =
      first === 0 || other.blockTable[first - 1] === sequence.blockTable[first - 1]
    const isComing =
      isSameSoFar &&
      other.tenant === sequence.tenant &&
      other.root === pool.root &&
      other.numPublishedBlocks <= numHits &&
      other.numTokens >= end
    if (isComing && hasSameTokens(sequence, other, first * blockSize, end)) return true
  }
  return false
}

function hasSameTokens(a: Sequence, b: Sequence, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (a.tokenIds[i] !== b.tokenIds[i]) return false
  return true
}

/**
 * Another choice of the same request that has computed the prompt up to its last token: its block
 * there, which is not full or must not be written to, is copied instead of computed. `later` if one
 * is about to; undefined if there is none, or nothing to copy.
 */
function findFork(sequence: Sequence, pool: BlockPool): Sequence | 'later' | undefined {
  const numShared = sequence.numPromptTokens - 1
  // After a preemption it has tokens of its own.
  if (sequence.numTokens > sequence.numPromptTokens || numShared % pool.blockSize === 0) {
    return undefined
  }
  let found: 'later' | undefined
  for (const choice of sequence.choices) {
    if (choice.status !== 'running' || choice.root !== pool.root) continue
    if (choice.numComputedTokens >= numShared) return choice
    found = 'later'
  }
  return found
}
