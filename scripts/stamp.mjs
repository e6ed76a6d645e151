/** Remembers from which inputs something was made, so that the second time costs nothing. */
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** SHA-256 over names and contents of the files below `paths` whose names match. */
export function digestOf(paths, pattern, salt = '') {
  const hash = createHash('sha256').update(salt)
  for (const path of paths) addToDigest(hash, path, pattern)
  return hash.digest('hex')
}

function addToDigest(hash, path, pattern) {
  let entries
  try {
    entries = readdirSync(path, { withFileTypes: true })
  } catch (error) {
    if (error.code !== 'ENOTDIR') return
    hash.update(path).update(readFileSync(path))
    return
  }
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const child = join(path, entry.name)
    if (entry.isDirectory()) addToDigest(hash, child, pattern)
    else if (pattern.test(entry.name)) hash.update(child).update(readFileSync(child))
  }
}

/** True when `stampPath` holds this digest: what it guards is up to date. */
export function isCurrent(stampPath, digest) {
  try {
    return readFileSync(stampPath, 'utf8') === digest
  } catch {
    return false
  }
}

export function writeStamp(stampPath, digest) {
  mkdirSync(dirname(stampPath), { recursive: true })
  writeFileSync(stampPath, digest)
}
