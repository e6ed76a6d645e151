/**
 * `npm run bundle`: one archive that runs on a bare Linux host, without Node, compilers or internet:
 * compiled JavaScript, production modules, the addon, this machine's Node and a start script.
 * `--with-tests` adds the compiled tests, benches and C++ programs, for machines that only measure.
 */
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { ensureBuilt } from './build.mjs'
import { runOrRefuse, say } from './setup.mjs'
import { refuse } from './toolchain.mjs'

const withTests = process.argv.includes('--with-tests')
const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
const name = `kvasir-${version}-${process.platform}-${process.arch}`
const outFolder = 'build/bundle'
const root = join(outFolder, name)

const startScript = `#!/bin/sh
# Runs the command line with the Node beside it: ./kvasir serve --model FOLDER
here=$(CDPATH= cd -- "$(dirname -- "$(readlink -f -- "$0")")" && pwd)
exec "$here/bin/node" "$here/dist/server/main.js" "$@"
`

function copy(path) {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  cpSync(path, join(root, path), { recursive: true, dereference: true })
}

/** What package-lock.json installs for production on this platform: no development tools. */
function copyProductionModules() {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'))
  for (const [path, entry] of Object.entries(packages)) {
    const isWanted = path !== '' && !entry.dev && !entry.devOptional && existsSync(path)
    if (isWanted) copy(path)
  }
}

function copyCompiledCode() {
  cpSync('dist', join(root, 'dist'), {
    recursive: true,
    filter: (path) => withTests || !/^dist\/(test|bench)(\/|$)/.test(path),
  })
}

function copyAddon() {
  const addon = 'build/native/Release/kvasir.node'
  copy(addon)
  // Symbols are half of it and help nobody there.
  spawnSync('strip', ['--strip-unneeded', join(root, addon)])
}

function copyTests() {
  copy('test/fixtures')
  copy('test/reference')
  for (const folder of ['gpu-test', 'gpu-bench']) {
    if (existsSync(`build/native/${folder}`)) copy(`build/native/${folder}`)
  }
}

if (process.platform !== 'linux') refuse('a bundle can be made on Linux only.')
for (const tool of ['tar', 'xz']) {
  if (spawnSync(tool, ['--version']).error)
    refuse(`${tool} was not found. Install it and try again.`)
}
ensureBuilt({ withTests })
rmSync(outFolder, { recursive: true, force: true })
mkdirSync(join(root, 'bin'), { recursive: true })
copyCompiledCode()
copyProductionModules()
copyAddon()
if (withTests) copyTests()
for (const file of ['package.json', 'LICENSE', 'README.md', 'CHANGELOG.md']) copy(file)
copyFileSync(process.execPath, join(root, 'bin/node'))
chmodSync(join(root, 'bin/node'), 0o755)
writeFileSync(join(root, 'kvasir'), startScript, { mode: 0o755 })

const archive = `${name}.tar.xz`
say(`packing ${archive} (a minute)`)
process.env.XZ_OPT = '-T0 -6'
runOrRefuse('tar', ['-C', outFolder, '-cJf', archive, name], 'Is the disk full?')
const megabytes = (statSync(archive).size / 1e6).toFixed(0)
process.stdout.write(
  `${archive}: ${megabytes} MB. Unpack it anywhere and run ./${name}/kvasir serve\n`,
)
