/**
 * A PostgreSQL server of our own on loopback: initdb, start, stop, kill. What is always true: while `pid` is set, that
 * process is the postmaster of `dataDir` and a child of ours, in a session of its own, so that Ctrl-C reaches us first and not it.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, chmodSync, closeSync, mkdirSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { giveTo, type RunAs } from './run-as.js'

const START_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 30_000
const POLL_MS = 20
/** A socket's path may have about 100 characters; without one, TCP is all we need. */
const SOCKET_FOLDER_CHARS_MAX = 80
const LOG_TAIL_BYTES = 2_000

export interface ServerOptions {
  /** Holds `postgres` and `initdb`. */
  readonly binDir: string
  /** A folder of this server alone; made if absent. Holds `data` and `log`. */
  readonly folder: string
  readonly user: RunAs | null
  /** e.g. `en_US.UTF-8`; `C` needs nothing of the machine. */
  readonly locale: string
  readonly settings: Readonly<Record<string, string>>
  readonly environment?: Readonly<Record<string, string>>
}

/** fast: sessions are ended. immediate: no shutdown checkpoint, as after a crash. */
export type StopMode = 'fast' | 'immediate'

const STOP_SIGNALS = { fast: 'SIGINT', immediate: 'SIGQUIT' } as const

export class PostgresServer {
  readonly dataDir: string
  readonly logFile: string
  readonly #options: ServerOptions
  #port = 0
  #child: ChildProcess | null = null
  #exited: Promise<unknown> = Promise.resolve()

  private constructor(options: ServerOptions) {
    this.#options = options
    this.dataDir = join(options.folder, 'data')
    this.logFile = join(options.folder, 'log')
  }

  /** A new cluster, not started. */
  static async create(options: ServerOptions, signal?: AbortSignal): Promise<PostgresServer> {
    const server = new PostgresServer(options)
    mkdirSync(server.dataDir, { recursive: true })
    chmodSync(options.folder, 0o755)
    giveTo(options.folder, options.user)
    const args = ['-D', server.dataDir, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-sync']
    await promisify(execFile)(join(options.binDir, 'initdb'), [...args, `--locale=${options.locale}`], {
      ...server.#spawnOptions(),
      ...(signal ? { signal } : {}),
    })
    server.#port = await freePort()
    const lines = Object.entries({
      listen_addresses: '127.0.0.1',
      port: String(server.#port),
      unix_socket_directories: server.dataDir.length > SOCKET_FOLDER_CHARS_MAX ? '' : server.dataDir,
      ...options.settings,
    }).map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`)
    appendFileSync(join(server.dataDir, 'postgresql.conf'), lines.join(''))
    return server
  }

  get url(): string {
    return this.urlOf('postgres')
  }

  urlOf(database: string): string {
    return `postgres://postgres@127.0.0.1:${this.#port}/${encodeURIComponent(database)}`
  }

  get port(): number {
    return this.#port
  }

  get pid(): number | null {
    return this.#child?.pid ?? null
  }

  /** Resolves when the server takes connections. */
  async start(signal?: AbortSignal): Promise<void> {
    if (this.#child) throw new Error('this PostgreSQL server runs already')
    const log = openSync(this.logFile, 'a')
    const child = spawn(join(this.#options.binDir, 'postgres'), ['-D', this.dataDir], {
      ...this.#spawnOptions(),
      detached: true,
      stdio: ['ignore', log, log],
    })
    closeSync(log)
    child.unref()
    this.#child = child
    this.#exited = once(child, 'exit').then(() => {
      if (this.#child === child) this.#child = null
    })
    this.#exited.catch(() => {
      this.#child = null
    })
    await this.#ready(child, signal)
  }

  async stop(mode: StopMode = 'fast'): Promise<void> {
    const child = this.#child
    if (!child) return
    child.ref()
    child.kill(STOP_SIGNALS[mode])
    const timer = setTimeout(() => void this.kill(), STOP_TIMEOUT_MS)
    await this.#exited.finally(() => clearTimeout(timer))
  }

  /** A crash: the postmaster and every backend get SIGKILL. Resolves when all of them are gone. */
  async kill(): Promise<void> {
    const child = this.#child
    if (!child?.pid) return
    const family = [child.pid, ...childrenOf(child.pid)]
    child.ref()
    for (const pid of family) killQuietly(pid)
    await this.#exited
    while (family.some(isAlive)) await pause()
  }

  /** The end of the server's log, for errors. */
  logTail(): string {
    const text = readFileSync(this.logFile, 'utf8')
    return text.slice(-LOG_TAIL_BYTES).trim()
  }

  async #ready(child: ChildProcess, signal?: AbortSignal): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT_MS
    let failure: Error | null = null
    child.once('error', (error) => {
      failure = error
    })
    // The last line of postmaster.pid says `ready` once connections are taken.
    while (!/^ready\s*$/m.test(this.#pidFile(child))) {
      if (signal?.aborted) {
        await this.stop('immediate')
        signal.throwIfAborted()
      }
      if (failure) throw failure
      if (child.exitCode !== null || child.signalCode !== null || performance.now() > deadline) {
        await this.kill()
        throw new Error(`PostgreSQL did not start in ${this.dataDir}:\n${this.logTail()}`)
      }
      await pause()
    }
    await probe(this.#port)
  }

  /** Empty while the file is of an older run, which ended without removing it. */
  #pidFile(child: ChildProcess): string {
    try {
      const text = readFileSync(join(this.dataDir, 'postmaster.pid'), 'utf8')
      return text.startsWith(`${child.pid}\n`) ? text : ''
    } catch {
      return ''
    }
  }

  #spawnOptions() {
    const { user, folder, environment } = this.#options
    return {
      cwd: folder,
      env: { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC', ...environment },
      ...(user ? { uid: user.uid, gid: user.gid } : {}),
    }
  }
}

/** A port that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

async function probe(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.destroy()
}

/** Direct children of a process, where the system has /proc; none otherwise. */
export function childrenOf(pid: number): number[] {
  try {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && parentOf(name) === pid)
      .map(Number)
  } catch {
    return []
  }
}

function parentOf(pid: string): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The command name may hold spaces and parentheses: fields are counted from its end.
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
  } catch {
    return null
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !/^State:\s*Z/m.test(readStatus(pid))
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function readStatus(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch {
    return ''
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself.
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, POLL_MS))
}
