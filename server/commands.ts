import { DEFAULT_MODEL } from '../engine/model/catalog.js'
import { maxChoices } from '../engine/sampling-params.js'
import type { Command } from './command-line.js'
import {
  bytes,
  choice,
  duration,
  type FlagValues,
  fraction,
  integer,
  list,
  text,
  toggle,
} from './flag.js'

const offline = toggle('Use only models that are on this machine already.')

/** The flags of `kvasir serve`: one table for parsing, KVASIR_*, --help and the documentation. */
export const serveFlags = {
  host: text('ADDRESS', '127.0.0.1', 'Address to listen on; 0.0.0.0 for all of them.'),
  port: integer(8000, { min: 0, max: 65_535 }, 'Port to listen on; 0 for any free one.'),
  model: text(
    'MODEL',
    DEFAULT_MODEL,
    'A folder, a .gguf file, a hub id (owner/name, owner/name:file.gguf) or a short name.',
  ),
  servedModelName: list('NAME,...', 'Names clients may use; the first one is in the answers.'),
  modelCheck: choice(
    'strict',
    ['strict', 'any'],
    'strict refuses requests for another model; any answers them.',
  ),
  device: choice(
    'auto',
    ['auto', 'cpu', 'cuda'],
    'What computes: auto takes an NVIDIA GPU where there is one. `kvasir doctor` says what it finds.',
  ),
  dtype: choice(
    'auto',
    ['auto', 'float32', 'bfloat16', 'float16'],
    'Weights, activations and cache on a GPU. auto keeps 16-bit weights and makes others bfloat16.',
  ),
  numerics: choice(
    'reference',
    ['reference', 'fast'],
    'reference rounds on a GPU where PyTorch does; fast rounds less often.',
  ),
  batchInvariant: toggle('Answers on a GPU do not depend, to the last bit, on what else it does.'),
  gpuMemoryFraction: fraction(0.9, 'Share of the GPU’s memory to use.'),
  cudaGraphs: choice('on', ['on', 'off'], 'Launch decode steps as CUDA graphs.'),
  threads: integer(
    undefined,
    { min: 1, max: 1024 },
    'Threads that compute. Default: the physical cores.',
  ),
  kvCacheDtype: choice('float16', ['float16', 'float32'], 'Numbers in the KV cache on the CPU.'),
  kvCacheBytes: bytes(
    'Memory for the KV cache. Default: a quarter of what there is, at most 4 contexts; on a GPU all that is left.',
  ),
  maxTokensPerStep: integer(
    undefined,
    { min: 16, max: 65_536 },
    'Tokens computed together in one step. Default: 512, on a GPU 8192.',
  ),
  maxSequences: integer(
    undefined,
    { min: 1, max: 1024 },
    'Sequences computed together in one step. Default: 64, on a GPU 256.',
  ),
  overlap: choice(
    'on',
    ['on', 'off'],
    'Plan a step while the one before runs; off is the plain loop, for comparison.',
  ),
  maxStepMs: integer(
    undefined,
    { min: 1, max: 60_000 },
    'Milliseconds a step may take while answers run: long prompts get what fits beside them.',
  ),
  maxQueueMs: integer(
    undefined,
    { min: 1, max: 86_400_000 },
    'Milliseconds a request may wait before it begins; then it gets 503.',
  ),
  tenantCacheShare: fraction(
    0.5,
    'Share of the KV cache that unused prefixes of one cache_salt may keep from others.',
  ),
  trace: text('FILE', undefined, 'Write a trace of every step, to be opened in Perfetto.'),
  maxQueuedRequests: integer(
    256,
    { min: 0, max: 1_000_000 },
    'Answers that may wait; a request for more gets 503. A request with n counts n times.',
  ),
  maxQueuedTokens: integer(
    undefined,
    { min: 1, max: 2 ** 31 - 1 },
    'Prompt tokens that may wait; the next prompt gets 503. Default: the context, at least 262144.',
  ),
  maxN: integer(16, { min: 1, max: maxChoices }, 'Answers (n) that one request may ask for.'),
  defaultMaxTokens: integer(
    undefined,
    { min: 1, max: 2 ** 31 - 1 },
    'max_tokens of requests that give none. Default: what the context leaves.',
  ),
  corsOrigin: list('ORIGIN,...', 'Pages of these origins may call the server; * for all.'),
  unknownParams: choice(
    'warn',
    ['warn', 'reject', 'ignore'],
    'Parameters nobody knows: left out and said so, refused, or left out.',
  ),
  drainTimeout: duration(30_000, 'Time for admitted requests to finish at shutdown.'),
  logLevel: choice(
    'info',
    ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'],
    'Least serious kind of line in the log (JSON on standard error).',
  ),
  exposeInternalState: toggle('Serve GET /v1/internal/state, the counts of the engine.'),
  offline,
}
export type ServeFlags = FlagValues<typeof serveFlags>

export const serveCommand: Command<typeof serveFlags> = {
  name: 'serve',
  summary: 'Serve a model over HTTP.',
  positionals: [],
  flags: serveFlags,
  examples: [
    'kvasir serve',
    'kvasir serve --model Qwen/Qwen2.5-0.5B-Instruct --port 8123',
    'KVASIR_KV_CACHE_BYTES=2GB kvasir serve --model ./model.gguf',
  ],
}

export const pullCommand: Command<{ offline: typeof offline }> = {
  name: 'pull',
  summary: 'Fetch a model, with checks, into the cache that serve reads.',
  positionals: ['MODEL'],
  flags: { offline },
  examples: ['kvasir pull smollm2-135m-instruct', 'kvasir pull owner/name:file.gguf'],
}

export const checkCommand: Command<{ offline: typeof offline }> = {
  name: 'check',
  summary: 'Read and judge a model without serving it.',
  positionals: ['MODEL'],
  flags: { offline },
  examples: ['kvasir check ./model.gguf'],
}

export const doctorCommand: Command<{ device: typeof serveFlags.device }> = {
  name: 'doctor',
  summary: 'Say what this machine has and what serve would use.',
  positionals: [],
  flags: { device: serveFlags.device },
  examples: ['kvasir doctor', 'kvasir doctor --device cuda'],
}

export const commands: readonly Command[] = [serveCommand, pullCommand, checkCommand, doctorCommand]
