/** Finds what a build needs and says, in a sentence, what to install when it is missing. */
import { execFileSync } from 'node:child_process'
import process from 'node:process'

const oldestNode = 20
const oldestCmake = [3, 20]

/** The first line a program prints for `--version`, or undefined when it cannot be run. */
function findVersion(program) {
  try {
    const stdio = ['ignore', 'pipe', 'ignore']
    return execFileSync(program, ['--version'], { encoding: 'utf8', stdio }).split('\n')[0]
  } catch {
    return undefined
  }
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
  const [major, minor] = (cmake.match(/(\d+)\.(\d+)/) ?? []).slice(1).map(Number)
  const [oldMajor, oldMinor] = oldestCmake
  if (major < oldMajor || (major === oldMajor && minor < oldMinor)) {
    refuse(
      `${cmake} is too old: ${oldestCmake.join('.')} or newer is needed. Try: ${howToInstall('cmake')}`,
    )
  }
}
