import { Session } from 'node:inspector/promises'
import t from 'tap'
import { add, createScheduler, range } from './simulation/drive.js'

interface ProfileNode {
  readonly callFrame: { readonly url: string }
  readonly selfSize: number
  readonly children: readonly ProfileNode[]
}

/** Bytes that code under `folder` allocated, dead objects included. */
function sumBytes(node: ProfileNode, folder: string): number {
  const own = node.callFrame.url.includes(folder) ? node.selfSize : 0
  return node.children.reduce((sum, child) => sum + sumBytes(child, folder), own)
}

t.test('a steady decode step allocates nothing for its tokens', async (t) => {
  const numSequences = 64
  const limits = { blockSize: 16, numBlocks: 16_384, maxContextLen: 4096 }
  const scheduler = createScheduler({
    ...limits,
    maxTokensPerStep: 512,
    maxSequences: numSequences,
  })
  const stopTokenIds = Int32Array.of(1, 2)
  for (let id = 0; id < numSequences; id++) {
    add(scheduler, id, range(1000 * id, 4), { maxTokens: 4000, stopTokenIds })
  }
  const results = new Int32Array(numSequences).fill(7)
  const run = (numSteps: number) => {
    for (let i = 0; i < numSteps; i++) scheduler.commit(scheduler.schedule()!, results)
  }
  run(1500)

  const session = new Session()
  session.connect()
  await session.post('HeapProfiler.startSampling', {
    samplingInterval: 512,
    includeObjectsCollectedByMajorGC: true,
    includeObjectsCollectedByMinorGC: true,
  })
  const numSteps = 2000
  run(numSteps)
  const { profile } = await session.post('HeapProfiler.stopSampling')
  session.disconnect()
  // The smallest object has 16 bytes. The rest is what the compiler leaves behind.
  const numBytes = sumBytes(profile.head, '/scheduler/') / (numSteps * numSequences)
  t.ok(numBytes < 2, `${numBytes.toFixed(2)} bytes a token`)
})
