import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { StepLoop } from '../../../engine/core/step-loop.js'
import { coreExitCode } from '../../../engine/core-exit.js'
import { FrameReader } from '../../../engine/frame-reader.js'
import {
  type CoreReady,
  encodeFatal,
  encodeHeartbeat,
  encodeLoading,
  encodeReady,
} from '../../../engine/frames-from-core.js'
import { decodeToCore, type StartSpec, type Submission } from '../../../engine/frames-to-core.js'
import { Scheduler } from '../../../scheduler/scheduler.js'
import { FakeModel } from './fake-model.js'
import { maxContextLen, poisons, vocabSize } from './stub-core-facts.js'

/**
 * A core process without native code: real frames, real scheduler, a fake model of 512 tokens. The
 * file named by spec.modelPath + '.plan', if there is one, says line by line how each start goes;
 * the first token of a prompt can be a poison (see poisons).
 */
const blockSize = 16
const numBlocks = 256

const pipe = new Socket({ fd: 3, readable: true, writable: true })
let loop: StepLoop | undefined
let planLine = ''

const reader = new FrameReader((type, payload) => {
  const message = decodeToCore(type, payload)
  if (message.kind === 'start') start(message.spec)
  else if (message.kind !== 'submit' || !isPoisoned(message.submission)) loop?.receive(message)
})
pipe.on('data', (chunk) => reader.push(chunk))
if (!process.argv.includes('--linger')) pipe.on('close', () => process.exit(0))
pipe.on('error', () => {})

function start(spec: StartSpec): void {
  planLine = takePlanLine(`${spec.modelPath}.plan`)
  if (planLine === 'crash') process.exit(7)
  if (planLine === 'refuse') {
    pipe.end(encodeFatal('the weights are gone'), () => process.exit(coreExitCode.startFailed))
    return
  }
  if (planLine === 'hang') return
  if (planLine === 'linger') pipe.removeAllListeners('close')
  const digest = planLine === 'other-model' ? 'ff'.repeat(32) : spec.digest
  pipe.write(encodeLoading(50, 100))
  process.stdout.write('a line\nanother')
  process.stderr.write('a warning\n')
  loop = makeLoop(spec)
  pipe.write(encodeReady(makeReady(digest, spec)))
  loop.run().catch((error: Error) => {
    pipe.end(encodeFatal(error.message), () => process.exit(coreExitCode.stepFailed))
  })
}

function takePlanLine(path: string): string {
  if (!existsSync(path)) return 'serve'
  const [first = 'serve', ...rest] = readFileSync(path, 'utf8').split('\n').filter(Boolean)
  writeFileSync(path, rest.join('\n'))
  return first
}

function makeLoop(spec: StartSpec): StepLoop {
  const maxTokensPerStep = spec.maxTokensPerStep ?? 64
  const maxSequences = spec.maxSequences ?? 8
  const shape = { blockSize, maxBlocksPerSequence: maxContextLen / blockSize }
  const limits = { maxTokensPerStep, maxSequences, numBlocks }
  return new StepLoop({
    model: new FakeModel({ ...shape, ...limits, vocabSize, stepMs: 2 }),
    scheduler: new Scheduler({ ...limits, blockSize, maxContextLen, hashSeed: 1 }),
    shape,
    limits: { vocabSize, maxContextLen, maxSequences },
    numStepsBefore: 0,
    send: (frame) => pipe.write(frame),
  })
}

function makeReady(digest: string, spec: StartSpec): CoreReady {
  return {
    weightsBytes: 1000,
    kvCacheBytes: 2000,
    workspaceBytes: 300,
    samplerBytes: 40,
    memoryLimitBytes: 1_000_000,
    numBlocks,
    blockSize,
    maxContextLen,
    numThreads: 1,
    maxSequences: spec.maxSequences ?? 8,
    maxTokensPerStep: spec.maxTokensPerStep ?? 64,
    warmUpMs: 2,
    digest,
    device: 'cpu',
    cacheType: 'float16',
    kernels: 'fake',
  }
}

function isPoisoned({ promptTokenIds }: Submission): boolean {
  switch (promptTokenIds[0]) {
    case poisons.exit:
      process.exit(9)
      break
    case poisons.segfault:
      process.kill(process.pid, 'SIGSEGV')
      return true
    case poisons.garbage:
      pipe.write(Buffer.alloc(64, 0xff))
      return true
    case poisons.halfFrame:
      pipe.end(Buffer.of(100, 0, 0, 0, 131, 1, 2, 3), () => process.exit(9))
      return true
    case poisons.busyLoop:
      for (;;);
    case poisons.stop:
      process.kill(process.pid, 'SIGSTOP')
      return true
    case poisons.stall:
      setInterval(() => pipe.write(encodeHeartbeat({ numSteps: 0, numTokensInStep: 1 })), 100)
      return true
    case poisons.closePipe:
      pipe.removeAllListeners('close')
      pipe.destroy()
      setInterval(() => {}, 1000)
      return true
    case poisons.exitOnce:
      if (planLine !== 'forgiving') process.exit(9)
      return false
    default:
      return false
  }
}
