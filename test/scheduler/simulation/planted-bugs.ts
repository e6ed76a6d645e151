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
  {
    name: 'the result of a row is used although its sequence has ended',
    patches: [
      {
        file: 'scheduler.js',
        find: /if \(sequence\.status === 'finished'\)\s+return;(?=\s+if \(row)/,
        replace: '',
      },
    ],
  },
  {
    name: 'a protected sequence gets only the blocks of its prompt',
    patches: [
      {
        file: 'admission.js',
        find: /sequence\.isProtected\s+\? blockTable\.length/,
        replace: 'false ? blockTable.length',
      },
    ],
  },
  {
    name: 'a decode is planned though no block is left',
    patches: [
      {
        file: 'preemption.js',
        find: /this\.#pool\.numAvailableBlocks >= this\.#seats\.running\.length/,
        replace: 'this.#pool.numAvailableBlocks >= 1',
      },
    ],
  },
  {
    name: 'a sequence is preempted while a step has it',
    patches: [
      {
        file: 'preemption.js',
        find: /if \(this\.#steps\.length > 0\)\s+return -1;(?=\s+while)/,
        replace: '',
      },
    ],
  },
  {
    name: 'whoever has left gives back blocks and slot while a step has them',
    patches: [
      {
        file: 'steps-in-flight.js',
        find: /sequence !== undefined && this\.has\(sequence\)/,
        replace: 'false',
      },
    ],
  },
  {
    name: 'a reset of the cache leaves running chains to be found',
    patches: [
      {
        file: 'block-pool.js',
        find: /this\.#root--;/,
        replace: '',
      },
    ],
  },
  {
    name: 'blocks of before a reset are cached after it',
    patches: [
      {
        file: 'block-pool.js',
        find: /this\.#published\.rootOf\(blockId\) === this\.#root/,
        replace: 'true',
      },
    ],
  },
  {
    name: 'a look-up goes on from a block that has come to mean something else',
    patches: [
      {
        file: 'admission.js',
        find: /pool\.publicationOf\(blockTable\[numFoundBlocks - 1\]\) === sequence\.foundPublication/,
        replace: 'true',
      },
    ],
  },
  {
    name: "a tenant's share of the cache is not kept",
    patches: [
      {
        file: 'cached-blocks.js',
        find: /return place === -1 \?/,
        replace: 'return true ?',
      },
    ],
  },
  {
    name: 'a preempted sequence goes to the end of the line',
    patches: [
      {
        file: 'waiting-line.js',
        find: /this\.#queueOf\(sequence\)\.pushFront\(sequence\)/,
        replace: 'this.#queueOf(sequence).pushBack(sequence)',
      },
    ],
  },
  {
    name: 'a worse priority starves',
    patches: [
      {
        file: 'waiting-line.js',
        find: /maxPasses = 16/,
        replace: 'maxPasses = 100000',
      },
    ],
  },
  {
    name: 'a choice is given up in line though its request has begun',
    patches: [
      {
        file: 'waiting-line.js',
        find: /for \(const choice of sequence\.choices\)\s+this\.#unstarted\.delete\(choice\);/,
        replace: 'this.#unstarted.delete(sequence);',
      },
    ],
  },
  {
    name: 'the line takes one sequence more than it has room for',
    patches: [
      {
        file: 'scheduler.js',
        find: /this\.#waiting\.length \+ numChoices <= maxWaiting/,
        replace: 'this.#waiting.length + numChoices <= maxWaiting + 1',
      },
    ],
  },
  {
    name: 'the client is told of cached tokens again after a preemption',
    patches: [
      {
        file: 'scheduler.js',
        find: /if \(sequence\.numPreemptions === 0\)(?=\s+sequence\.numCachedTokens)/,
        replace: 'if (true)',
      },
    ],
  },
  {
    name: 'a stop token ends a sequence one token too early',
    patches: [
      {
        file: 'sequence.js',
        find: /this\.numOutputTokens < this\.minTokens/,
        replace: 'this.numOutputTokens + 1 < this.minTokens',
      },
    ],
  },
  {
    name: 'a debt grows without bounds',
    patches: [
      {
        file: 'tenants.js',
        find: /Math\.max\(account\.deficit - numTokens, -this\.#maxDebt\)/,
        replace: 'account.deficit - numTokens',
      },
    ],
  },
  {
    name: 'the blocks of a failed sequence can be found while a step still has it',
    patches: [
      {
        file: 'scheduler.js',
        find: /this\.#withdrawFailed\(plan, sampledTokenIds\);/,
        replace: '',
      },
    ],
  },
]
