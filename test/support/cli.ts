/** Runs the command line inside the test's process, with captured streams and a pipeline that the test scripts. */
import { PassThrough, type Readable, Writable } from 'node:stream'
import type { Io, StopSignal } from '../../cli/io.js'
import { main } from '../../cli/program.js'
import type { Registry } from '../../config/registry.js'
import type { runPipeline } from '../../core/pipeline.js'

export interface CliOptions {
  readonly registry: Registry
  readonly cwd: string
  readonly env?: Record<string, string>
  /** Typed by the user, one answer each; makes stdin a terminal. `^C` and `^D` are the keys. */
  readonly answers?: readonly string[]
  /** stderr is a terminal. */
  readonly terminal?: boolean
  readonly run?: typeof runPipeline
  /** What every write to stdout fails with. */
  readonly stdoutError?: NodeJS.ErrnoException
}

export interface CliRun {
  readonly code: number
  readonly out: string
  readonly err: string
  /** Codes of exit(), in order. */
  readonly exits: readonly number[]
}

export interface CliSession {
  readonly done: Promise<CliRun>
  signal(name: StopSignal): void
  /** The reader of stdout went away. */
  closeStdout(): void
  err(): string
}

class Captured extends Writable {
  text = ''
  failure: Error | null = null
  override _write(chunk: Buffer, _encoding: string, callback: (error?: Error | null) => void): void {
    this.text += chunk.toString()
    callback(this.failure)
  }
}

export function startCli(argv: readonly string[], options: CliOptions): CliSession {
  const stdout = Object.assign(new Captured(), { failure: options.stdoutError ?? null })
  const stderr = Object.assign(new Captured(), options.terminal ? { isTTY: true, columns: 80 } : {})
  const exits: number[] = []
  const handlers = new Set<(name: StopSignal) => void>()
  const io: Io = {
    stdin: stdinOf(options.answers, stderr),
    stdout,
    stderr,
    env: options.env ?? {},
    cwd: options.cwd,
    onSignal(handler) {
      handlers.add(handler)
      return () => handlers.delete(handler)
    },
    exit: (code) => exits.push(code),
    registry: async () => options.registry,
    pipelineRunner: async () => options.run ?? (() => Promise.reject(new Error('no pipeline in this test'))),
  }
  const done = main(argv, io).then((code) => ({ code, out: stdout.text, err: stderr.text, exits }))
  return {
    done,
    signal: (name) => {
      for (const handler of [...handlers]) handler(name)
    },
    closeStdout: () => stdout.emit('error', Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })),
    err: () => stderr.text,
  }
}

export function runCli(argv: readonly string[], options: CliOptions): Promise<CliRun> {
  return startCli(argv, options).done
}

/** On a terminal in raw mode the keys arrive as characters; readline ends on them as on the end of its input. */
function type(stdin: PassThrough, answer: string): void {
  if (answer === '^D') stdin.end()
  else stdin.write(answer === '^C' ? '\u0003' : `${answer}\n`)
}

/** Each answer is typed when a question has been printed, as a person would. */
function stdinOf(answers: readonly string[] | undefined, stderr: Captured): Readable & { isTTY?: boolean } {
  const stdin = new PassThrough()
  if (answers === undefined) return stdin
  const left = [...answers]
  const write = stderr._write.bind(stderr)
  stderr._write = (chunk, encoding, callback) => {
    write(chunk, encoding, callback)
    if (/[:?\]] $/.test(chunk.toString())) setImmediate(() => type(stdin, left.shift() ?? ''))
  }
  return Object.assign(stdin, { isTTY: true })
}
