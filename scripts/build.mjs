/** Compiles the TypeScript and the native addon, each only when its sources have changed. */
import { existsSync } from 'node:fs'
import process from 'node:process'
import { pathToFileURL } from 'node:url'
import { ensureDependencies, runOrRefuse, say } from './setup.mjs'
import { digestOf, isCurrent, writeStamp } from './stamp.mjs'
import { requireCompilers } from './toolchain.mjs'

const typescriptPaths = ['server', 'engine', 'scheduler', 'test', 'bench', 'tsconfig.json']
const nativePaths = ['CMakeLists.txt', 'native', 'kernels', 'test', 'bench']
const addonPath = 'build/native/Release/kvasir.node'

export function ensureTypeScript() {
  const stampPath = 'dist/.kvasir-stamp'
  const digest = digestOf(typescriptPaths, /\.ts$|^tsconfig\.json$/)
  if (isCurrent(stampPath, digest)) return
  say('compiling TypeScript')
  const advice = 'The messages above name the files.'
  runOrRefuse(process.execPath, ['node_modules/typescript/bin/tsc', '-p', '.'], advice)
  writeStamp(stampPath, digest)
}

/** @param withTests also builds the C++ test programs, which `npm start` does not need. */
export function ensureAddon(withTests) {
  const digest = digestOf(nativePaths, /\.(cpp|h|cu|cuh|txt)$/, process.versions.modules)
  const stampPath = 'build/native/.kvasir-stamp'
  const testStampPath = 'build/native/.kvasir-stamp-tests'
  if (existsSync(addonPath) && isCurrent(withTests ? testStampPath : stampPath, digest)) return
  requireCompilers()
  say(`building the native addon${withTests ? ' and its tests' : ''} (a minute or two, once)`)
  runOrRefuse(
    process.execPath,
    [
      'node_modules/cmake-js/bin/cmake-js',
      'compile',
      '--out',
      'build/native',
      '--parallel',
      '2',
      `--CDKVASIR_BUILD_TESTS=${withTests ? 'ON' : 'OFF'}`,
    ],
    'The compiler’s messages are above.',
  )
  writeStamp(stampPath, digest)
  if (withTests) writeStamp(testStampPath, digest)
}

export function ensureBuilt({ withTests }) {
  ensureDependencies()
  ensureTypeScript()
  ensureAddon(withTests)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  ensureBuilt({ withTests: process.argv.includes('--tests') })
}
