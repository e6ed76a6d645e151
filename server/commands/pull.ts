import { ProgressBar } from '../../engine/model/progress-bar.js'
import { resolveModel } from '../../engine/model/resolve-model.js'
import type { Terminal } from '../command-line.js'

/** The local path of a model, fetched first if need be, with a bar on standard error. */
export async function fetchModel(
  model: string,
  isOffline: boolean,
  terminal: Terminal,
): Promise<string> {
  const bar = new ProgressBar(terminal.err)
  try {
    return await resolveModel(model, {
      // Without the flag, HF_HUB_OFFLINE decides.
      ...(isOffline && { offline: true }),
      env: terminal.env,
      onProgress: bar.update,
      onNote: (sentence) => {
        bar.finish()
        terminal.err.write(`${sentence}\n`)
      },
    })
  } finally {
    bar.finish()
  }
}

/** `kvasir pull MODEL`: prints the path, so that scripts can use it. */
export async function pull(model: string, isOffline: boolean, terminal: Terminal): Promise<number> {
  const path = await fetchModel(model, isOffline, terminal)
  terminal.out.write(`${path}\n`)
  return 0
}
