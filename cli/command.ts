/** What every command that takes a pipeline file shares: its arguments, its log, loading the file, ending cleanly. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { loadPipeline, type PipelineConfig } from '../config/pipeline-file.js'
import { TidemarkError } from '../core/errors.js'
import { Left } from './ask.js'
import { printable } from './format.js'
import { EXIT, type Io, stdoutFailure } from './io.js'
import { createLog, known, type Log, type LogFormat } from './log.js'

export interface FileOptions {
  readonly set: readonly string[]
  readonly logFormat: LogFormat
}

export interface Loaded {
  readonly config: PipelineConfig
  readonly log: Log
}

export const LOG_FORMAT = new Option('--log-format <format>', 'how stderr is written')
  .choices(['text', 'json'])
  .default('text')

export function withFile(command: Command): Command {
  return command
    .argument('<file>', 'the pipeline file')
    .addOption(
      new Option('--set <block.option=value>', 'set one option, e.g. source.tables=public.orders (repeatable)')
        .argParser(collect)
        .default([], 'none'),
    )
    .addOption(LOG_FORMAT)
}

export function example(command: Command, ...lines: readonly string[]): Command {
  const title = lines.length > 1 ? 'Examples' : 'Example'
  return command.addHelpText('after', `\n${title}:\n${lines.map((line) => `  ${line}`).join('\n')}`)
}

function collect(value: string, before: readonly string[] = []): string[] {
  if (!value.includes('=')) throw new InvalidArgumentError('Write BLOCK.OPTION=VALUE.')
  return [...before, value]
}

interface LoadHooks {
  /** Before anything else. */
  readonly before?: () => void
  /** The file was refused. */
  readonly invalid?: (error: unknown, log: Log) => void
}

/** Loads the file, prints warnings, runs the body; an error is printed here and becomes the exit code. */
export async function withPipeline(
  io: Io,
  file: string,
  options: FileOptions,
  body: (loaded: Loaded) => Promise<number>,
  hooks: LoadHooks = {},
): Promise<number> {
  const log = createLog(io, options.logFormat)
  const load = (read: () => PipelineConfig) => {
    try {
      return read()
    } catch (error) {
      hooks.invalid?.(error, log)
      throw error
    }
  }
  try {
    hooks.before?.()
    const registry = await io.registry()
    const { env, cwd } = io
    const config = load(() => loadPipeline({ file, registry, env, cwd, set: options.set, secrets: log.secrets }))
    log.locate(config.place)
    for (const line of config.warnings) log.warn(line)
    return await body({ config, log })
  } catch (error) {
    log.error(error)
    return known(error).exitCode
  }
}

/** A signal aborts what the body does; commands that only look or tidy up have nothing to finish. */
export async function interruptible(io: Io, body: (signal: AbortSignal) => Promise<number>): Promise<number> {
  const controller = new AbortController()
  let code: number | null = null
  const off = io.onSignal((name) => {
    if (code !== null) io.exit(EXIT[name])
    code = EXIT[name]
    controller.abort(new DOMException(`stopped by ${name}`, 'AbortError'))
  })
  try {
    const result = await body(controller.signal)
    return code ?? result
  } catch (error) {
    if (code !== null) return code
    if (!(error instanceof Left)) throw error
    io.stderr.write('left at the question; nothing was changed\n')
    return EXIT.SIGINT
  } finally {
    off()
  }
}

export function usage(message: string, fix: string): TidemarkError {
  return new TidemarkError('cli.usage', { message, fix })
}

/** Data for stdout; resolves when it was taken. A closed stdout ends the command quietly. */
export function print(io: Io, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const ended = (error?: Error | null) => {
      const failure = error ? stdoutFailure(error) : null
      if (failure === null) resolve()
      else reject(failure)
    }
    io.stdout.once('error', ended)
    try {
      io.stdout.write(`${printable(text)}\n`, ended)
    } catch (error) {
      ended(error as Error)
    }
  })
}
