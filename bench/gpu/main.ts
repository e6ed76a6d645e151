import { writeFileSync } from 'node:fs'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { loadAddon } from '../../engine/core/addon.js'
import { benchCore, type Figure } from './core-bench.js'
import { benchHttp, type HttpFigure } from './http-bench.js'

/**
 * Speed on a GPU by the wall clock: through scheduler and step thread, and through HTTP.
 *
 *   node dist/bench/gpu/main.js --model FOLDER [--out FILE] [--only NAME] [--skip-http] [--skip-core]
 *     [--batch-invariant] [--numerics reference|fast]
 */
const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    out: { type: 'string' },
    only: { type: 'string', default: '' },
    'skip-http': { type: 'boolean', default: false },
    'skip-core': { type: 'boolean', default: false },
    'batch-invariant': { type: 'boolean', default: false },
    numerics: { type: 'string', default: 'reference' },
  },
})
const { fault, devices } = loadAddon().cudaStatus()
if (fault !== null || devices.length === 0) {
  process.stdout.write(`No GPU can be used: ${fault ?? 'none was found'}\n`)
  process.exit(0)
}
if (values.model === undefined) {
  process.stderr.write('bench:gpu needs --model FOLDER; test/gpu/make_checkpoint.py writes one.\n')
  process.exit(2)
}

const isBatchInvariant = values['batch-invariant']
const numerics = values.numerics === 'fast' ? 'fast' : 'reference'
const modelPath = values.model
const result: { gpu: string; date: string; core: Figure[]; http: HttpFigure[] } = {
  gpu: devices[0]!.name,
  date: new Date().toISOString().slice(0, 10),
  core: [],
  http: [],
}
process.stdout.write(
  `${result.gpu}, ${numerics} numerics${isBatchInvariant ? ', batch-invariant' : ''}\n`,
)
if (!values['skip-core']) {
  const settings = { modelPath, device: 'cuda', numerics, isBatchInvariant } as const
  result.core = await benchCore({ settings, only: values.only })
}
if (!values['skip-http']) {
  const flags = ['--model', modelPath, '--device', 'cuda', '--numerics', numerics]
  const more = ['--max-queued-requests', '2000', ...(isBatchInvariant ? ['--batch-invariant'] : [])]
  result.http = await benchHttp([...flags, ...more])
}
if (values.out !== undefined) writeFileSync(values.out, `${JSON.stringify(result, null, 2)}\n`)
process.exit(0)
