/**
 * A temporary folder that outlives no run for long: it names the process that made it, and the next run removes what a
 * killed one left, servers included. What is always true: only folders that belong to our own user and carry the
 * marker of a dead process are touched.
 */
import {
  chmodSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { childrenOf, isAlive } from './postgres-server.js'

const MARKER = 'owner.json'
const GONE_TIMEOUT_MS = 10_000

interface Owner {
  readonly pid: number
  /** Tells a process from a later one with the same number; null where the system does not say. */
  readonly started: string | null
}

export interface WorkFolder {
  readonly path: string
  remove(): void
}

export function makeWorkFolder(prefix: string): WorkFolder {
  const path = mkdtempSync(join(realpathSync(tmpdir()), `${prefix}-`))
  // The server's user passes through it; the data folder inside stays closed to others.
  if (process.getuid?.() === 0) chmodSync(path, 0o755)
  const owner: Owner = { pid: process.pid, started: startOf(process.pid) }
  writeFileSync(join(path, MARKER), JSON.stringify(owner), { mode: 0o644 })
  return { path, remove: () => rmSync(path, { recursive: true, force: true, maxRetries: 5 }) }
}

/** Ends what killed runs left behind. Returns the folders removed. */
export async function removeLeftovers(prefix: string, where: string = tmpdir()): Promise<string[]> {
  const removed: string[] = []
  const base = realpathSync(where)
  for (const name of readdirSync(base)) {
    const path = join(base, name)
    if (!name.startsWith(`${prefix}-`) || !isLeftover(path)) continue
    await endProcessesOf(path)
    rmSync(path, { recursive: true, force: true, maxRetries: 5 })
    removed.push(path)
  }
  return removed
}

function isLeftover(path: string): boolean {
  try {
    const info = lstatSync(path)
    if (!info.isDirectory() || info.uid !== process.getuid?.()) return false
    const owner = JSON.parse(readFileSync(join(path, MARKER), 'utf8')) as Owner
    return !isAlive(owner.pid) || startOf(owner.pid) !== owner.started
  } catch {
    // No marker: not ours, or still being made.
    return false
  }
}

/** Servers run with `-D <folder>/...` and syncs with a file in it: whatever names the folder in its arguments goes. */
async function endProcessesOf(folder: string): Promise<void> {
  const found = processesNaming(folder)
  const family = [...found, ...found.flatMap(childrenOf)]
  for (const pid of family) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It ended by itself.
    }
  }
  const deadline = performance.now() + GONE_TIMEOUT_MS
  while (family.some(isAlive) && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20))
}

function processesNaming(folder: string): number[] {
  try {
    return readdirSync('/proc').flatMap((name) => {
      if (!/^\d+$/.test(name) || Number(name) === process.pid) return []
      const words = commandLine(name)
      return words.some((word) => word.startsWith(`${folder}/`)) ? [Number(name)] : []
    })
  } catch {
    return pidFiles(folder)
  }
}

function commandLine(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return []
  }
}

/** Without /proc: the servers' own pid files. */
function pidFiles(folder: string): number[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('postmaster.pid'))
    .map((name) => Number.parseInt(readFileSync(join(folder, name), 'utf8'), 10))
    .filter((pid) => Number.isInteger(pid) && pid > 1)
}

function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null
  } catch {
    return null
  }
}
