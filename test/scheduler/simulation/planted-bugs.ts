import type { Patch } from './patched-modules.js'

export interface PlantedBug {
  readonly name: string
  readonly patches: readonly Patch[]
}

/** Mistakes that are easy to make in a paged cache, as edits of the compiled scheduler. */
export const plantedBugs: readonly PlantedBug[] = [
  {
    name: 'blocks freed early: an abort does not wait for the step in flight',
    patches: [
      {
        file: 'steps-in-flight.js',
        find: /return sequence\.lastStep > this\.#numCommitted/,
        replace: 'return sequence.lastStep > this.#numCommitted + 1',
      },
    ],
  },
  {
    name: 'a key without its tenant',
    patches: [
      {
        file: 'block-hash.js',
        find: / \|\| this\.#tenants\[blockId\] !== tenant/,
        replace: '',
      },
      { file: 'block-hash.js', find: / \^ \(tenant \| 0\)/, replace: '' },
      { file: 'block-hash.js', find: / \^ highWord\(tenant\)/, replace: '' },
    ],
  },
  {
    name: 'a skipped decrement: a shared block keeps its count',
    patches: [
      {
        file: 'block-pool.js',
        find: /this\.#refCounts\[blockId\] = refCount - 1;/,
        replace: 'if (refCount === 1) $&',
      },
    ],
  },
  {
    name: 'slots off by one: the first token of a new block has no block',
    patches: [
      {
        file: 'block-table.js',
        find: /numPlannedTokens === sequence\.numBlocks \* blockSize/,
        replace: 'numPlannedTokens === sequence.numBlocks * blockSize + 1',
      },
    ],
  },
  {
    name: 'a partial block is shared: published one token too early',
    patches: [
      {
        file: 'block-table.js',
        find: /start \+ blockSize <= sequence\.numComputedTokens/,
        replace: 'start + blockSize <= sequence.numComputedTokens + 1',
      },
    ],
  },
  {
    name: 'positions off by one after a prefix hit',
    patches: [
      {
        file: 'admission.js',
        find: /numComputedTokens = numHits \* blockSize;/,
        replace: 'numComputedTokens = numHits > 0 ? numHits * blockSize + 1 : 0;',
      },
    ],
  },
  {
    name: 'a fully cached prompt computes nothing',
    patches: [
      {
        file: 'admission.js',
        find: /Math\.floor\(\(sequence\.numTokens - 1\) \/ blockSize\)/,
        replace: 'Math.floor(sequence.numTokens / blockSize)',
      },
    ],
  },
  {
    name: 'keys without their parent',
    patches: [
      {
        file: 'block-hash.js',
        find: /this\.#parents\[blockId\] !== parentId \|\| /,
        replace: 'this.#parents[blockId] === noKey || ',
      },
      { file: 'block-hash.js', find: /this\.#seed \^ parentId/, replace: 'this.#seed' },
    ],
  },
  {
    name: 'an evicted block stays published',
    patches: [
      {
        file: 'block-pool.js',
        find: /this\.#published\.remove\(blockId\);(?=\s+this\.#numEvictions)/,
        replace: '',
      },
    ],
  },
  {
    name: 'tables released from their front: parents evicted before children',
    patches: [
      {
        file: 'block-table.js',
        find: /let i = sequence\.numBlocks - 1; i >= 0; i--/,
        replace: 'let i = 0; i < sequence.numBlocks; i++',
      },
    ],
  },
  {
    name: 'a failed sequence is forgotten, its blocks are not',
    patches: [
      {
        file: 'scheduler.js',
        find: /this\.#seats\.leave\(sequence\);(?=\s+this\.#forget\(sequence\);\s+plan)/,
        replace: "if (reason !== 'failed') $&",
      },
    ],
  },
  {
    name: 'the oldest sequence is preempted instead of the newest',
    patches: [
      {
        file: 'seats.js',
        find: /let s = this\.running\.last; s !== undefined; s = s\.previous/,
        replace: 'let s = this.running.first; s !== undefined; s = s.next',
      },
    ],
  },
  {
    name: 'a twin takes the place of a block that a step in flight reads',
    patches: [
      {
        file: 'scheduler.js',
        find: /this\.#steps\.has\(sequence\)/,
        replace: 'false',
      },
    ],
  },
  {
    name: 'a choice copies the block before the last one',
    patches: [
      {
        file: 'admission.js',
        find: /fork\.blockTable\[numHits\]/,
        replace: 'fork.blockTable[Math.max(0, numHits - 1)]',
      },
    ],
  },
  {
    name: 'the source of a copy may go before the copy',
    patches: [{ file: 'admission.js', find: /fork\.lastStep = plan\.stepNumber;/, replace: '' }],
  },
  {
    name: 'protection is forgotten: preempted again and again',
    patches: [
      { file: 'sequence.js', find: /maxPreemptions = 2/, replace: 'maxPreemptions = 1000' },
    ],
  },
]
