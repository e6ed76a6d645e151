import { request } from 'node:http'

/** When each token of one streamed completion arrived, in milliseconds after the request was sent. */
export interface StreamTimes {
  readonly arrivalsMs: readonly number[]
  readonly numTokens: number
}

export interface StreamRequest {
  readonly port: number
  readonly model: string
  readonly promptTokenIds: readonly number[]
  readonly maxTokens: number
}

/** One greedy streamed completion that ignores the end-of-sequence token. */
export function streamCompletion(spec: StreamRequest): Promise<StreamTimes> {
  const body = JSON.stringify({
    model: spec.model,
    prompt: spec.promptTokenIds,
    max_tokens: spec.maxTokens,
    temperature: 0,
    ignore_eos: true,
    stream: true,
    stream_options: { include_usage: true },
  })
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
  const options = { port: spec.port, path: '/v1/completions', method: 'POST', headers }
  return new Promise((resolve, reject) => {
    const sentAt = performance.now()
    const message = request({ host: '127.0.0.1', agent: false, ...options }, (response) => {
      const arrivalsMs: number[] = []
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (piece: string) => {
        const now = performance.now() - sentAt
        text += piece
        for (const line of piece.split('\n')) if (isTokenEvent(line)) arrivalsMs.push(now)
      })
      response.on('end', () => {
        if (response.statusCode !== 200) return reject(new Error(`${response.statusCode}: ${text}`))
        resolve({ arrivalsMs, numTokens: readCompletionTokens(text) })
      })
      response.on('error', reject)
    })
    message.on('error', reject)
    message.end(body)
  })
}

/** An event that carries text: not the closing one, not the usage, not [DONE]. */
function isTokenEvent(line: string): boolean {
  return line.startsWith('data: {') && /"text":"[^"]/.test(line)
}

function readCompletionTokens(text: string): number {
  const match = /"completion_tokens":(\d+)/.exec(text)
  if (match === null) throw new Error('the stream carried no usage')
  return Number(match[1])
}

/**
 * Ids of ordinary tokens that repeat neither within nor between prompts, so that no prefix is ever
 * found again: `serial` numbers the prompts of a run.
 */
export function makePrompt(serial: number, numTokens: number): number[] {
  const ids: number[] = []
  let state = (serial * 2654435761 + 12345) >>> 0
  for (let i = 0; i < numTokens; i += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    ids.push(1000 + ((state >>> 8) % 40000))
  }
  return ids
}
