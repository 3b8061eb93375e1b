/**
 * The `tidemark sync` that the demo watches: the real program in a process of its own, which may be killed at any time.
 * It runs in a session of its own, so that Ctrl-C reaches the demo first and not it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

const PACKAGE = createRequire(import.meta.url).resolve('tidemark/package.json')
const PROGRAM = join(dirname(PACKAGE), 'dist/bin/tidemark.js')
const STOP_TIMEOUT_MS = 10_000
const TAIL_LINES_MAX = 20

export class SyncProcess {
  readonly #child: ChildProcess
  readonly #closed: Promise<unknown>
  #lines: string[] = []

  constructor(file: string, env: Readonly<Record<string, string | undefined>>) {
    this.#child = spawn(process.execPath, [PROGRAM, 'sync', file], {
      detached: true,
      env: { ...env, NO_COLOR: '1' },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    this.#closed = once(this.#child, 'close')
    this.#closed.catch(() => {})
    let rest = ''
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      this.#lines = [...this.#lines, ...lines].slice(-TAIL_LINES_MAX)
    })
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Throws when the process has ended, with what it said last. */
  assertRunning(): void {
    const { exitCode, signalCode } = this.#child
    if (exitCode === null && signalCode === null) return
    throw new Error(
      `the sync ended (${signalCode ?? `exit code ${exitCode}`}). It said:\n  ${this.#lines.join('\n  ')}`,
    )
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#closed
  }

  /** A clean stop at a checkpoint. */
  async stop(): Promise<void> {
    const { exitCode, signalCode } = this.#child
    if (exitCode !== null || signalCode !== null) return
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIMEOUT_MS)
    await this.#closed.finally(() => clearTimeout(timer))
  }
}
