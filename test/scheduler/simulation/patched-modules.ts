import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { BlockPool } from '../../../scheduler/block-pool.js'
import type { Scheduler } from '../../../scheduler/scheduler.js'

/** What a simulation drives. */
export interface SchedulerModules {
  readonly Scheduler: typeof Scheduler
  readonly BlockPool: typeof BlockPool
}

/** One edit of one compiled file; `find` must occur in it exactly once. */
export interface Patch {
  readonly file: string
  readonly find: RegExp
  readonly replace: string
}

/** The compiled scheduler beside these compiled tests. */
const compiledFolder = fileURLToPath(new URL('../../../scheduler/', import.meta.url))

/**
 * Loads a second copy of the compiled scheduler with some edits in it. The originals stay as they
 * are. Throws if an edit does not apply, because the test behind it would then prove nothing.
 */
export async function loadPatched(patches: readonly Patch[]): Promise<SchedulerModules> {
  const folder = mkdtempSync(join(tmpdir(), 'scheduler-'))
  try {
    cpSync(compiledFolder, folder, { recursive: true })
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
    for (const { file, find, replace } of patches) {
      const path = join(folder, file)
      const source = readFileSync(path, 'utf8')
      const numMatches = source.match(new RegExp(find, 'g'))?.length ?? 0
      if (numMatches !== 1)
        throw new Error(`${find} occurs ${numMatches} times in ${file}, not once`)
      writeFileSync(path, source.replace(find, replace))
    }
    const load = (file: string) => import(pathToFileURL(join(folder, file)).href)
    const [{ Scheduler }, { BlockPool }] = await Promise.all([
      load('scheduler.js'),
      load('block-pool.js'),
    ])
    return { Scheduler, BlockPool }
  } finally {
    rmSync(folder, { recursive: true })
  }
}
