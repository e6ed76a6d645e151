/** Finds what a build needs and says, in a sentence, what to install when it is missing. */
import { execFileSync } from 'node:child_process'
import process from 'node:process'

const oldestNode = 20
const oldestCmake = '3.20'
/** As in cmake/cuda.cmake, which decides; here it is only told. */
const oldestNvcc = '12.4'

/** AUTO, ON or OFF: whether the CUDA backend is built. */
export const cudaOption = (process.env.KVASIR_CUDA ?? 'AUTO').toUpperCase()

/** What a program prints for `--version`, or undefined when it cannot be run. */
function readVersion(program) {
  try {
    const stdio = ['ignore', 'pipe', 'ignore']
    return execFileSync(program, ['--version'], { encoding: 'utf8', stdio })
  } catch {
    return undefined
  }
}

/** The first line of it. */
function findVersion(program) {
  return readVersion(program)?.split('\n')[0]
}

/** The nvcc that CMake would take, where cmake/cuda.cmake looks, and its version; or undefined. */
export function findNvcc() {
  if (cudaOption === 'OFF') return undefined
  const { CUDACXX } = process.env
  const places = CUDACXX ? [CUDACXX] : ['nvcc', '/usr/local/cuda/bin/nvcc']
  for (const program of places) {
    const version = /release (\d+\.\d+)/.exec(readVersion(program) ?? '')?.[1]
    if (version !== undefined) return { program, version, isTooOld: isOlder(version, oldestNvcc) }
  }
  return undefined
}

function isOlder(version, oldest) {
  const [major, minor] = version.split('.').map(Number)
  const [oldMajor, oldMinor] = oldest.split('.').map(Number)
  return major < oldMajor || (major === oldMajor && minor < oldMinor)
}

/** One line about which backends a build will have, and what to do for another answer. */
export function describeCuda(nvcc) {
  const advice = `For NVIDIA GPUs install NVIDIA’s CUDA toolkit ${oldestNvcc} or newer.`
  if (cudaOption === 'OFF') return 'KVASIR_CUDA=OFF: building the CPU backend alone'
  if (!nvcc) return `nvcc was not found: building the CPU backend alone. ${advice}`
  if (nvcc.isTooOld) {
    return `${nvcc.program} is version ${nvcc.version}: building the CPU backend alone. ${advice}`
  }
  return `building the CPU and CUDA backends (nvcc ${nvcc.version})`
}

function howToInstall(packageName) {
  if (findVersion('apt-get')) return `sudo apt-get install ${packageName}`
  if (findVersion('dnf'))
    return `sudo dnf install ${packageName === 'g++' ? 'gcc-c++' : packageName}`
  if (findVersion('brew'))
    return packageName === 'g++' ? 'xcode-select --install' : `brew install ${packageName}`
  return `install the package ${packageName} of your system`
}

/** Ends the process with a sentence: what is missing, why it is needed, what to type. */
export function refuse(sentence) {
  process.stderr.write(`kvasir: ${sentence}\n`)
  process.exit(1)
}

export function requireNode() {
  const major = Number(process.versions.node.split('.')[0])
  if (major < oldestNode) {
    refuse(
      `Node ${process.versions.node} is too old: Kvasir needs ${oldestNode} or newer (24 is a good choice).`,
    )
  }
}

/** The compiler and CMake for the native addon. */
export function requireCompilers() {
  const compilers = [process.env.CXX, 'c++', 'g++', 'clang++'].filter(Boolean)
  if (!compilers.some(findVersion)) {
    refuse(
      `no C++ compiler was found, and the native addon is built on this machine. Try: ${howToInstall('g++')}`,
    )
  }
  if (!findVersion('make') && !findVersion('ninja')) {
    refuse(`neither make nor ninja was found, and CMake needs one. Try: ${howToInstall('make')}`)
  }
  const cmake = findVersion('cmake')
  if (!cmake) {
    refuse(
      `CMake was not found, and the native addon is built with it. Try: ${howToInstall('cmake')}`,
    )
  }
  const version = /\d+\.\d+/.exec(cmake)?.[0] ?? '0.0'
  if (isOlder(version, oldestCmake)) {
    refuse(`${cmake} is too old: ${oldestCmake} or newer is needed. Try: ${howToInstall('cmake')}`)
  }
}
