/** A folder of compiled sources and tests, in which one file at a time may be a mutant. */
import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import process from 'node:process'
import ts from 'typescript'

const compilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  verbatimModuleSyntax: true,
}

/**
 * All tests in one process: starting one for each file would take longer than the tests. What
 * fast-check makes up is the same for every mutant, so that a second run has the same result.
 */
const runner = `import fc from 'fast-check'
fc.configureGlobal({ seed: 1 })
for (const path of process.argv.slice(2)) await import(path)
`

export function compile(sourceText) {
  return ts.transpileModule(sourceText, { compilerOptions }).outputText
}

export class Sandbox {
  #root
  #tests

  /** Compiles the folders into `root`. `tests` are sources, relative to the repository. */
  constructor(root, folders, tests) {
    this.#root = root
    this.#tests = tests
    for (const folder of folders) this.#compileFolder(folder)
    writeFileSync(join(root, 'package.json'), '{ "type": "module" }\n')
    writeFileSync(join(root, 'run-tests.mjs'), runner)
    symlinkSync(resolve('node_modules'), join(root, 'node_modules'))
  }

  /** Runs every test, those of this source first, and resolves to what came of it. */
  async run(timeoutMs, path) {
    const mirror = path && `test/${path.replace(/\.ts$/, '.test.ts')}`
    const isMirror = (test) => test === mirror
    const ordered = [...this.#tests.filter(isMirror), ...this.#tests.filter((x) => !isMirror(x))]
    const args = ordered.map((test) => `./${test.replace(/\.ts$/, '.js')}`)
    const child = spawn(process.execPath, [join(this.#root, 'run-tests.mjs'), ...args], {
      stdio: 'ignore',
      // tap stops at the first failure.
      env: { ...process.env, TAP_BAIL: '1' },
    })
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      child.kill('SIGKILL')
    }, timeoutMs)
    const code = await new Promise((settle, fail) => {
      child.on('error', fail)
      child.on('exit', settle)
    })
    clearTimeout(timer)
    if (isLate) return 'timeout'
    return code === 0 ? 'passed' : 'failed'
  }

  /** Runs the tests with this text in place of the source. */
  async runMutant(path, sourceText, mutantText, timeoutMs) {
    const compiled = compile(mutantText)
    if (compiled === compile(sourceText)) return 'passed'
    this.#write(path, compiled)
    const result = await this.run(timeoutMs, path)
    this.#write(path, compile(sourceText))
    return result
  }

  remove() {
    rmSync(this.#root, { recursive: true })
  }

  #compileFolder(folder) {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name)
      if (entry.isDirectory()) this.#compileFolder(path)
      else if (path.endsWith('.ts')) this.#write(path, compile(readFileSync(path, 'utf8')))
    }
  }

  #write(path, compiled) {
    const target = join(this.#root, path.replace(/\.ts$/, '.js'))
    mkdirSync(dirname(target), { recursive: true })
    writeFileSync(target, compiled)
  }
}
