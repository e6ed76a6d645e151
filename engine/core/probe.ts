import process from 'node:process'
import { loadAddon } from './addon.js'
import { readMemoryLimit } from './memory-limit.js'

/**
 * Entry of a short-lived process: what the addon finds on this machine, as one line of JSON. A
 * process of its own, because a broken driver may end whoever asks it.
 */
const addon = loadAddon()
const report = {
  cpu: addon.cpuFeatures(),
  numThreads: addon.defaultNumThreads(),
  memoryLimitBytes: readMemoryLimit(),
  cuda: addon.cudaStatus(),
}
process.stdout.write(`${JSON.stringify(report)}\n`)
