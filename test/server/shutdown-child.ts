import process from 'node:process'
import pino from 'pino'
import { buildApp } from '../../server/app.js'
import { EngineGate } from '../../server/engine-gate.js'
import { listen } from '../../server/listen.js'
import { defaultAppConfig } from '../../server/route-config.js'
import { installShutdown } from '../../server/shutdown.js'
import { EngineDouble } from './engine-double.js'

/**
 * A process of its own for tests of signals. `DRAIN_MS` is how long its engine takes to drain, or
 * `forever`; with `THROW=1` it meets an exception nobody catches.
 */
const { DRAIN_MS = '0', THROW } = process.env
const engine = new EngineDouble()
engine.drain = () =>
  new Promise((resolve) => {
    if (DRAIN_MS === 'forever') setInterval(() => {}, 1000)
    else setTimeout(() => resolve({ numUnfinished: 0 }), Number(DRAIN_MS))
  })
const gate = new EngineGate(engine)
const app = await buildApp({ gate, config: defaultAppConfig, logger: pino({ level: 'silent' }) })
const url = await listen(app, { host: '127.0.0.1', port: 0 })
const say = (line: string) => process.stdout.write(`${line}\n`)
installShutdown({ app, gate, drainTimeoutMs: 1_000, say })
say(`listening on ${url}`)
if (THROW) setImmediate(() => Promise.reject(new Error('nobody expects this')))
