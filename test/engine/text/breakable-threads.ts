import { syncBuiltinESMExports } from 'node:module'
import workerThreads, { Worker } from 'node:worker_threads'

/** Until they are restored, new threads of this process can be made to end as soon as they start. */
export class BreakableThreads {
  readonly #original = workerThreads.Worker
  readonly #started: Worker[] = []
  #isBroken = false

  constructor() {
    const started = this.#started
    const script = (given: string | URL) =>
      this.#isBroken ? new URL('data:text/javascript,process.exit(1)') : given
    workerThreads.Worker = class extends Worker {
      constructor(...[given, options]: ConstructorParameters<typeof Worker>) {
        super(script(given), options)
        started.push(this)
      }
    }
    syncBuiltinESMExports()
  }

  /** Ends the threads there are; those that are started in their place do not come up. */
  async break(): Promise<void> {
    this.#isBroken = true
    await Promise.all(this.#started.map((thread) => thread.terminate()))
  }

  restore(): void {
    workerThreads.Worker = this.#original
    syncBuiltinESMExports()
  }
}
