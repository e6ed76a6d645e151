/** `npm start`: everything from a fresh clone to a serving process, then `kvasir serve` itself. */
import { dirname, resolve } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { ensureBuilt } from './build.mjs'

process.chdir(resolve(dirname(fileURLToPath(import.meta.url)), '..'))
ensureBuilt({ withTests: false })

// In this very process: signals, standard streams and the exit code are then the server's own.
process.argv.splice(1, 1, resolve('dist/server/main.js'), 'serve')
await import('../dist/server/main.js')
