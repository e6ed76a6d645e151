import { readFileSync } from 'node:fs'
import { totalmem } from 'node:os'
import { dirname, join } from 'node:path'

/**
 * Bytes this process may use: the tightest limit of its control group and the groups above it
 * (version 2 or 1), or the machine's memory if that is less. Inside a container the machine's
 * memory alone would be a promise that the kernel does not keep.
 *
 * The folders are arguments so that tests can bring their own.
 */
export function readMemoryLimit(
  machineBytes = totalmem(),
  procCgroupPath = '/proc/self/cgroup',
  cgroupRoot = '/sys/fs/cgroup',
): number {
  let limit = machineBytes
  for (const line of (readText(procCgroupPath) ?? '').split('\n')) {
    // hierarchy id : controllers : path; version 2 has id 0 and names no controllers
    const [, id, controllers, path] = /^(\d+):([^:]*):(\/.*)$/.exec(line) ?? []
    if (path === undefined) continue
    if (id === '0' && controllers === '') {
      limit = Math.min(limit, tightest(cgroupRoot, path, 'memory.max'))
    } else if (controllers?.split(',').includes('memory')) {
      limit = Math.min(limit, tightest(join(cgroupRoot, 'memory'), path, 'memory.limit_in_bytes'))
    }
  }
  return limit
}

/** A group is bound by all groups above it, and in a container its own path may not be mounted. */
function tightest(root: string, groupPath: string, fileName: string): number {
  let limit = Number.POSITIVE_INFINITY
  for (let path = groupPath; ; path = dirname(path)) {
    const text = readText(join(root, path, fileName))?.trim()
    // 'max' says that this group has no limit.
    if (text !== undefined && /^\d+$/.test(text)) limit = Math.min(limit, Number(text))
    if (path === '/') return limit
  }
}

/** undefined where there is no such file: control groups differ from machine to machine. */
function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
