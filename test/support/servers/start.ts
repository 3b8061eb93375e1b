/** Starts a PostgreSQL of a wanted version with the settings that tests need. */
import { lstatSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { usableBinDir } from '../../../cli/demo/embedded-postgres.js'
import { PostgresServer } from '../../../cli/demo/postgres-server.js'
import { serverUser } from '../../../cli/demo/run-as.js'
import { makeWorkFolder, type WorkFolder } from '../../../cli/demo/work-folder.js'
import { ensureLocales } from './locales.js'
import { locatePostgres, type PostgresVersion } from './locate.js'

export const FOLDER_PREFIX = 'tidemark-test'
const LOCALE = 'en_US.UTF-8'

const SETTINGS = {
  wal_level: 'logical',
  max_replication_slots: '100',
  max_wal_senders: '100',
  max_connections: '300',
  max_prepared_transactions: '20',
  fsync: 'on',
  log_min_messages: 'warning',
  log_line_prefix: '%m [%p] %a %d ',
}

export interface StartedServer {
  readonly server: PostgresServer
  readonly folder: WorkFolder
}

export async function startServer(
  version: PostgresVersion,
  settings: Readonly<Record<string, string>> = {},
  note: (line: string) => void = (line) => process.stderr.write(`# ${line}\n`),
): Promise<StartedServer> {
  ensureLocales(note)
  const user = serverUser('postgres', 'nobody')
  const located = locatePostgres(version, note)
  const binDir =
    'binDir' in located ? located.binDir : usableBinDir(located.npm, user, () => cacheFolder(located.npm.version))
  const folder = makeWorkFolder(FOLDER_PREFIX)
  try {
    const server = await PostgresServer.create({
      binDir,
      folder: join(folder.path, `postgres-${version}`),
      user,
      locale: LOCALE,
      settings: { ...SETTINGS, ...settings },
    })
    await server.start()
    return { server, folder }
  } catch (error) {
    folder.remove()
    throw error
  }
}

/** Binaries that the server's user can read, kept between runs. Never a folder that somebody else made. */
function cacheFolder(version: string): string {
  const folder = join(tmpdir(), `tidemark-postgres-${process.getuid?.() ?? 0}`)
  mkdirSync(folder, { recursive: true, mode: 0o755 })
  const info = lstatSync(folder)
  if (!info.isDirectory() || info.uid !== process.getuid?.() || (info.mode & 0o022) !== 0) {
    throw new Error(`${folder} is not ours alone. Remove it.`)
  }
  return join(folder, version)
}
