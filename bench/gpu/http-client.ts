import process from 'node:process'
import { makePrompt, streamCompletion } from '../server/stream-client.js'

/**
 * A process of the load generator: keeps `numStreams` streams busy, each with one request after the
 * other, and prints what it saw as one line of JSON. A generator in one process would be what is
 * measured.
 */
export interface ClientSpec {
  readonly port: number
  readonly model: string
  readonly numStreams: number
  readonly numRequestsPerStream: number
  readonly promptLen: number
  readonly maxTokens: number
  /** Prompts of different processes must not share prefixes. */
  readonly firstSerial: number
}

/** Times are those of the system's clock, which all processes share. */
export interface ClientReport {
  readonly requests: readonly ClientRequest[]
}

export interface ClientRequest {
  readonly sentAtMs: number
  readonly numTokens: number
  readonly arrivalsMs: readonly number[]
}

const spec = JSON.parse(process.argv[2]!) as ClientSpec
const requests: ClientRequest[] = []
let serial = spec.firstSerial

async function keepBusy(): Promise<void> {
  for (let i = 0; i < spec.numRequestsPerStream; i++) {
    const promptTokenIds = makePrompt(serial++, spec.promptLen)
    const sentAtMs = performance.timeOrigin + performance.now()
    const { port, model, maxTokens } = spec
    const { numTokens, arrivalsMs } = await streamCompletion({
      port,
      model,
      promptTokenIds,
      maxTokens,
    })
    requests.push({ sentAtMs, numTokens, arrivalsMs })
  }
}

await Promise.all(Array.from({ length: spec.numStreams }, keepBusy))
process.stdout.write(`${JSON.stringify({ requests })}\n`)
