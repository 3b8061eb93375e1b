/**
 * PostgreSQL refuses to run as root. There we run it as a user that exists already, so no system user is made:
 * its files then live where that user can read them. Everywhere else the server runs as ourselves.
 */
import { chownSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'

export interface RunAs {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

const NOBODY: RunAs = { name: 'nobody', uid: 65534, gid: 65534 }

/** The first of the named users that this machine has, when we are root; null: run as ourselves. */
export function serverUser(...names: readonly string[]): RunAs | null {
  if (process.getuid?.() !== 0) return null
  let passwd = ''
  try {
    passwd = readFileSync('/etc/passwd', 'utf8')
  } catch {
    // Without the file there is nothing better than the usual number of `nobody`.
  }
  const users = new Map(passwd.split('\n').map((line) => [line.split(':')[0] ?? '', line.split(':')]))
  for (const name of names) {
    const [, , uid, gid] = users.get(name) ?? []
    if (uid !== undefined && gid !== undefined) return { name, uid: Number(uid), gid: Number(gid) }
  }
  return NOBODY
}

/** True when that user can reach the folder and read a file in it, by the permission bits for others. */
export function readableBy(folder: string, user: RunAs | null): boolean {
  if (user === null) return true
  for (let at = folder; ; at = dirname(at)) {
    const info = statSync(at, { throwIfNoEntry: false })
    if (!info || (info.uid !== user.uid && (info.mode & 0o5) !== 0o5)) return false
    if (dirname(at) === at) return true
  }
}

/** Hands a folder and everything in it to that user. */
export function giveTo(folder: string, user: RunAs | null): void {
  if (user === null) return
  chownSync(folder, user.uid, user.gid)
  for (const entry of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    chownSync(join(folder, entry), user.uid, user.gid)
  }
}
