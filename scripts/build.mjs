/**
 * Compiles the TypeScript and the native addon, each only when its sources have changed. `--tests` adds
 * the C++ test programs; `--llaisys` compiles libllaisys.so instead. KVASIR_CUDA=OFF leaves the CUDA backend out where
 * nvcc is found, ON insists on it.
 */
import { existsSync } from 'node:fs'
import process from 'node:process'
import { pathToFileURL } from 'node:url'
import { ensureDependencies, runOrRefuse, say } from './setup.mjs'
import { digestOf, isCurrent, writeStamp } from './stamp.mjs'
import { cudaOption, describeCuda, findNvcc, requireCompilers } from './toolchain.mjs'

const typescriptPaths = ['server', 'engine', 'scheduler', 'test', 'bench', 'tsconfig.json']
const nativePaths = ['CMakeLists.txt', 'cmake', 'native', 'kernels', 'test', 'bench']
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
  const nvcc = findNvcc()
  // Another nvcc, or none any more, makes another addon of the same sources.
  const salt = `${process.versions.modules} ${nvcc?.version} ${cudaOption}`
  const digest = digestOf(nativePaths, /\.(cpp|h|cu|cuh|txt|cmake)$/, salt)
  const stampPath = 'build/native/.kvasir-stamp'
  const testStampPath = 'build/native/.kvasir-stamp-tests'
  if (existsSync(addonPath) && isCurrent(withTests ? testStampPath : stampPath, digest)) return
  requireCompilers()
  const minutes = nvcc ? 'several minutes, once' : 'a minute or two, once'
  say(`building the native addon${withTests ? ' and its tests' : ''} (${minutes})`)
  say(describeCuda(nvcc))
  compileNative({ configure: [`--CDKVASIR_BUILD_TESTS=${withTests ? 'ON' : 'OFF'}`] })
  writeStamp(stampPath, digest)
  if (withTests) writeStamp(testStampPath, digest)
}

/** LLAISYS's C interface over the same operators, `libllaisys.so`; the addon does not need it. */
function buildLlaisys() {
  ensureDependencies()
  requireCompilers()
  say(describeCuda(findNvcc()))
  compileNative({ compile: ['--target', 'llaisys'] })
  say('the library is build/native/llaisys/libllaisys.so')
}

/**
 * cmake-js configures by itself only where nothing was configured yet, and would go on with the options
 * of the last build.
 */
function compileNative({ configure = [], compile = [] }) {
  const advice = 'The compiler’s messages are above.'
  const cmakeJs = (command, args) =>
    runOrRefuse(
      process.execPath,
      ['node_modules/cmake-js/bin/cmake-js', command, '--out', 'build/native', ...args],
      advice,
    )
  const options = [`--CDKVASIR_CUDA=${cudaOption}`, ...configure]
  cmakeJs('configure', options)
  cmakeJs('compile', ['--parallel', '2', ...options, ...compile])
}

export function ensureBuilt({ withTests }) {
  ensureDependencies()
  ensureTypeScript()
  ensureAddon(withTests)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  if (process.argv.includes('--llaisys')) buildLlaisys()
  else ensureBuilt({ withTests: process.argv.includes('--tests') })
}
