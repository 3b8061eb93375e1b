/**
 * Runs the built command line program as a child process of its own, as users do: never through npx, whose child
 * outlives it. Whatever a test leaves running is killed at its teardown. (cli.ts runs the commands inside the test.)
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import type { StepName } from '../../core/steps.js'
import { until } from './until.js'

export const TIDEMARK_MAIN = fileURLToPath(new URL('../../dist/bin/tidemark.js', import.meta.url))
const RSS_POLL_MS = 100
const EXIT_TIMEOUT_MS = 120_000
const LINE_TIMEOUT_MS = 60_000

interface Teardown {
  teardown(handler: () => Promise<void> | void): unknown
}

export interface ProcessOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Kill or stop the process at a named step (core/steps.ts), the nth time it gets there. */
  readonly failpoint?: { readonly step: StepName; readonly nth?: number; readonly action?: 'kill' | 'stop' }
  readonly nodeArgs?: readonly string[]
}

export interface ProcessExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  readonly peakRssBytes: number
}

/** Starts `tidemark ARGS...` from dist. */
export function startTidemark(t: Teardown, args: readonly string[], options: ProcessOptions = {}): TidemarkProcess {
  const { step, nth = 1, action = 'kill' } = options.failpoint ?? {}
  const child = spawn(process.execPath, [...(options.nodeArgs ?? []), TIDEMARK_MAIN, ...args], {
    cwd: options.cwd ?? tmpdir(),
    env: {
      ...withoutTap(process.env),
      NO_COLOR: '1',
      ...(step ? { TIDEMARK_FAILPOINT: `${step}:${nth}:${action}` } : {}),
      ...options.env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const run = new TidemarkProcess(child)
  t.teardown(async () => {
    if (run.running) await run.kill()
  })
  return run
}

/** Runs `tidemark ARGS...` to its end. */
export function runTidemark(
  t: Teardown,
  args: readonly string[],
  options: ProcessOptions & { readonly timeoutMs?: number } = {},
): Promise<ProcessExit> {
  return startTidemark(t, args, options).exit(options)
}

export interface PipelineFile {
  readonly file: string
  readonly folder: string
  /** Path of a file beside it, e.g. for --report or a file sink. */
  path(name: string): string
}

/** A pipeline file in a folder of its own. `{{DIR}}` in it becomes that folder. */
export function writePipeline(t: Teardown, pipeline: object): PipelineFile {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-test-pipeline-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'pipeline.yaml')
  writeFileSync(file, stringify(pipeline).replaceAll('{{DIR}}', folder))
  return { file, folder, path: (name) => join(folder, name) }
}

export class TidemarkProcess {
  readonly pid: number
  readonly #child: ChildProcess
  readonly #exited: Promise<void>
  readonly #stdout: Buffer[] = []
  #stderr = ''
  #peakRssBytes = 0

  constructor(child: ChildProcess) {
    this.#child = child
    this.pid = child.pid ?? 0
    child.stdout?.on('data', (chunk: Buffer) => this.#stdout.push(chunk))
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text
    })
    const poll = setInterval(() => this.peakRssBytes(), RSS_POLL_MS)
    this.#exited = new Promise<void>((resolve, reject) => {
      child.once('error', reject)
      // `close` comes after the last output; `exit` may come before it.
      child.once('close', () => resolve())
    }).finally(() => clearInterval(poll))
    this.#exited.catch(() => {})
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Everything so far. */
  stdout(): string {
    return Buffer.concat(this.#stdout).toString('utf8')
  }

  stderr(): string {
    return this.#stderr
  }

  /** Resolves with the first line of stderr that matches; fails when the process ends without one. */
  async line(pattern: RegExp, { timeoutMs = LINE_TIMEOUT_MS } = {}): Promise<string> {
    const find = () => this.#stderr.split('\n').find((line) => pattern.test(line))
    await until(() => find() !== undefined || !this.running, { timeoutMs, what: `a line on stderr like ${pattern}` })
    if (!this.running) await this.#exited
    const line = find()
    if (line === undefined) throw new Error(`ended before a line was like ${pattern}:\n${this.#stderr}`)
    return line
  }

  async exit({ timeoutMs = EXIT_TIMEOUT_MS } = {}): Promise<ProcessExit> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`still running after ${timeoutMs} ms:\n${this.#stderr}`)), timeoutMs)
    })
    try {
      await Promise.race([this.#exited, late])
    } catch (error) {
      await this.kill()
      throw error
    } finally {
      clearTimeout(timer)
    }
    return this.#result()
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  /** SIGKILL, and gone. */
  async kill(): Promise<ProcessExit> {
    this.peakRssBytes()
    this.#child.kill('SIGKILL')
    await this.#exited
    return this.#result()
  }

  /** Resolves when the process stands still after SIGSTOP (a `stop` failpoint). SIGCONT lets it go on. */
  async stopped({ timeoutMs = LINE_TIMEOUT_MS } = {}): Promise<void> {
    await until(
      () => {
        if (!this.running) throw new Error(`ended instead of stopping:\n${this.#stderr}`)
        return /^State:\s*T/m.test(this.#status())
      },
      { timeoutMs, what: 'the process is stopped' },
    )
  }

  /** The highest resident memory the kernel has seen, looked at while the process lives. */
  peakRssBytes(): number {
    const kib = /^VmHWM:\s*(\d+) kB/m.exec(this.#status())?.[1]
    this.#peakRssBytes = Math.max(this.#peakRssBytes, Number(kib ?? 0) * 1024)
    return this.#peakRssBytes
  }

  #result(): ProcessExit {
    const { exitCode: code, signalCode: signal } = this.#child
    return { code, signal, stdout: this.stdout(), stderr: this.#stderr, peakRssBytes: this.#peakRssBytes }
  }

  #status(): string {
    try {
      return readFileSync(`/proc/${this.pid}/status`, 'utf8')
    } catch {
      return ''
    }
  }
}

/** tap's variables would make the child believe that it is a test. */
export function withoutTap(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !/^(TAP|_TAPJS_|TIDEMARK_FAILPOINT|NODE_OPTIONS$)/.test(name)),
  )
}
