import { checkModel, formatModelReport } from '../../engine/model/check-model.js'
import { tokenizerFromGguf } from '../../engine/text/gguf-tokenizer.js'
import type { Terminal } from '../command-line.js'
import { fetchModel } from './pull.js'

/** `kvasir check MODEL`: 0 for a model that can be served, 1 for one that cannot. */
export async function check(
  model: string,
  isOffline: boolean,
  terminal: Terminal,
): Promise<number> {
  const path = await fetchModel(model, isOffline, terminal)
  const report = await checkModel(path, { tokenizerFromGguf })
  terminal.out.write(`${formatModelReport(report)}\n`)
  return report.problems.length === 0 ? 0 : 1
}
