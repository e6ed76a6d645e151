import { existsSync } from 'node:fs'
import pino, { type Logger } from 'pino'
import { startEngine } from '../../engine/engine.js'
import type { EngineOptions, MemoryPlanReport } from '../../engine/engine-options.js'
import { findInCatalog } from '../../engine/model/catalog.js'
import { ProgressBar } from '../../engine/model/progress-bar.js'
import { buildApp } from '../app.js'
import type { Terminal } from '../command-line.js'
import type { ServeFlags } from '../commands.js'
import { EngineGate } from '../engine-gate.js'
import { listen } from '../listen.js'
import { type AppConfig, defaultAppConfig } from '../route-config.js'
import { installShutdown } from '../shutdown.js'
import { curlLine, memoryPlanLines, samplingLine } from '../start-report.js'
import { version } from '../version.js'
import { fetchModel } from './pull.js'

/**
 * `kvasir serve`. Takes the port first, so that a clash is known before minutes of loading, then
 * fetches and loads the model; resolves when the server is ready and rejects when it cannot be.
 */
export async function serve(flags: ServeFlags, terminal: Terminal): Promise<void> {
  const startedAt = performance.now()
  const say = (line: string) => terminal.out.write(`${line}\n`)
  const logger = pino({ level: flags.logLevel }, pino.destination({ fd: 2, sync: true }))
  const gate = new EngineGate()
  const app = await buildApp({ gate, config: toAppConfig(flags), logger })
  const baseUrl = await listen(app, { host: flags.host, port: flags.port })
  installShutdown({ app, gate, drainTimeoutMs: flags.drainTimeout, say })
  say(`Kvasir ${version} listens on ${baseUrl} and loads ${flags.model}.`)

  const modelPath = await fetchModel(flags.model, flags.offline, terminal)
  const report = new LoadReport(terminal, (plan) => {
    for (const line of memoryPlanLines(plan)) say(line)
  })
  const engine = await startEngine(toEngineOptions(flags, modelPath, logger, report))
  gate.attach(engine)
  try {
    await engine.ready
  } catch (error) {
    // Ctrl-C while it loads: the shutdown is under way and says what there is to say.
    if (gate.state === 'draining') return
    throw error
  }
  say(samplingLine(engine.generationDefaults))
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  say(`Ready after ${seconds} s as ${engine.model.id}. Try:`)
  say(curlLine(baseUrl, engine.model.id))
}

export function toAppConfig(flags: ServeFlags): AppConfig {
  return {
    ...defaultAppConfig,
    host: flags.host,
    modelAliases: flags.servedModelName.slice(1),
    modelCheck: flags.modelCheck,
    unknownParams: flags.unknownParams,
    corsOrigins: flags.corsOrigin,
    exposeInternalState: flags.exposeInternalState,
    defaultMaxTokens: flags.defaultMaxTokens,
    maxChoices: flags.maxN,
    canExpire: flags.maxQueueMs !== undefined,
  }
}

function toEngineOptions(
  flags: ServeFlags,
  modelPath: string,
  logger: Logger,
  report: LoadReport,
): EngineOptions {
  const servedModelName = flags.servedModelName[0] ?? nameFromFlag(flags.model)
  return {
    modelPath,
    ...(servedModelName !== undefined && { servedModelName }),
    ...(flags.threads !== undefined && { numThreads: flags.threads }),
    device: flags.device,
    dtype: flags.dtype,
    numerics: flags.numerics,
    isBatchInvariant: flags.batchInvariant,
    useGraphs: flags.cudaGraphs === 'on',
    gpuMemoryFraction: flags.gpuMemoryFraction,
    kvCacheType: flags.kvCacheDtype,
    ...(flags.kvCacheBytes !== undefined && { kvCacheBytes: flags.kvCacheBytes }),
    ...(flags.maxTokensPerStep !== undefined && { maxTokensPerStep: flags.maxTokensPerStep }),
    ...(flags.maxSequences !== undefined && { maxSequences: flags.maxSequences }),
    maxStepsInFlight: flags.overlap === 'on' ? 2 : 1,
    ...(flags.maxStepMs !== undefined && { maxStepMs: flags.maxStepMs }),
    ...(flags.maxQueueMs !== undefined && { maxQueueMs: flags.maxQueueMs }),
    tenantCacheShare: flags.tenantCacheShare,
    ...(flags.trace !== undefined && { tracePath: flags.trace }),
    maxQueuedRequests: flags.maxQueuedRequests,
    ...(flags.maxQueuedTokens !== undefined && { maxQueuedTokens: flags.maxQueuedTokens }),
    advisedSampling: findInCatalog(flags.model)?.advisedSampling ?? {},
    logger,
    onLoadProgress: report.onLoadProgress,
    onMemoryPlan: report.onMemoryPlan,
  }
}

/** A short name or hub id is what clients say, too; a path is nobody's business. */
export function nameFromFlag(model: string): string | undefined {
  return existsSync(model) ? undefined : model
}

/** Shows the first load to the person at the terminal; restarts of the core are for the log. */
class LoadReport {
  readonly #bar: ProgressBar
  readonly #showPlan: (plan: MemoryPlanReport) => void
  #isLoaded = false

  constructor(terminal: Terminal, showPlan: (plan: MemoryPlanReport) => void) {
    this.#bar = new ProgressBar(terminal.err)
    this.#showPlan = showPlan
  }

  readonly onLoadProgress = (numBytesDone: number, numBytes: number): void => {
    if (!this.#isLoaded) this.#bar.update({ file: 'weights', numBytesDone, numBytes })
  }

  readonly onMemoryPlan = (plan: MemoryPlanReport): void => {
    if (this.#isLoaded) return
    this.#isLoaded = true
    this.#bar.finish()
    this.#showPlan(plan)
  }
}
