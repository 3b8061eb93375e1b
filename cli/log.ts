/**
 * Everything that is not data goes through here to stderr: as lines for people, or as JSON with `--log-format json`.
 * Secrets are taken out of every line.
 */
import pino from 'pino'
import { Secrets } from '../config/secrets.js'
import { TidemarkError, toError } from '../core/errors.js'
import { printable } from './format.js'
import type { Io } from './io.js'

export type LogFormat = 'text' | 'json'

export interface Log {
  readonly format: LogFormat
  readonly secrets: Secrets
  /** True: escape sequences for colour may be written to stderr. */
  readonly colour: boolean
  /** One line for people, fields for machines. */
  info(line: string, fields?: Readonly<Record<string, unknown>>): void
  /** A line of names and numbers that holds no text from outside: a password that equals one of them hides none. */
  names(line: string, fields?: Readonly<Record<string, unknown>>): void
  warn(line: string): void
  error(thrown: unknown): void
  /** From now on errors say where in the pipeline file the option stands that they are about. */
  locate(place: (at: string) => string): void
  /** Called around every write, so that a live view can step aside. */
  around: (write: () => void) => void
}

export function createLog(io: Io, format: LogFormat): Log {
  const secrets = new Secrets()
  const debug = io.env.TIDEMARK_DEBUG === '1'
  const colour = io.stderr.isTTY === true && !io.env.NO_COLOR && io.env.TERM !== 'dumb'
  let place = (at: string) => at
  const log: Log = {
    format,
    secrets,
    colour,
    around: (write) => write(),
    info: (line) => out(secrets.redact(line)),
    names: (line) => out(line),
    warn: (line) => out(secrets.redact(line), `${paint('warning', YELLOW)}: `),
    error: (thrown) => out(describeError(thrown, secrets, debug, place), `${paint('error', RED)} `),
    locate: (found) => {
      place = found
    },
  }
  const paint = (text: string, code: number) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text)
  const out = (line: string, before = '') => log.around(() => io.stderr.write(`${before}${printable(line)}\n`))
  return format === 'text' ? log : jsonLog(io, log, debug, (at) => place(at))
}

const RED = 31
const YELLOW = 33

function jsonLog(io: Io, base: Log, debug: boolean, place: (at: string) => string): Log {
  const stream = { write: (line: string) => void io.stderr.write(line) }
  const clean = (value: object) => base.secrets.redactDeep(value) as object
  const text = (line: string) => base.secrets.redact(line)
  const logger = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (level) => ({ level }) } },
    stream,
  )
  return {
    ...base,
    info: (line, fields = {}) => logger.info(fields, text(line)),
    names: (line, fields = {}) => logger.info(fields, line),
    warn: (line) => logger.warn(text(line)),
    error(thrown) {
      const error = known(thrown)
      const { code, fix, at, stack } = error
      const details = clean({ fix, at: at && place(at), ...(debug ? { stack } : {}) })
      logger.error({ err: { code, ...details } }, text(error.message))
    },
  }
}

/** An error that no driver classified is a gap of ours; its message still says most. */
export function known(thrown: unknown): TidemarkError {
  if (thrown instanceof TidemarkError) return thrown
  const cause = toError(thrown)
  return new TidemarkError('core.bug', {
    message: cause.message || String(thrown),
    fix: 'Run again with TIDEMARK_DEBUG=1 and report the output. What was committed is safe.',
    cause,
  })
}

function describeError(thrown: unknown, secrets: Secrets, debug: boolean, place: (at: string) => string): string {
  const error = known(thrown)
  const lines = [secrets.redact(error.message)]
  if (error.at) lines.push(`  at: ${secrets.redact(place(error.at))}`)
  if (error.fix) lines.push(`  fix: ${secrets.redact(error.fix)}`)
  if (debug) lines.push(secrets.redact(stackOf(error)))
  // The code is a constant of ours: it stays readable even when a word of it is somebody's password.
  return `${error.code}: ${lines.join('\n')}`
}

function stackOf(error: Error): string {
  const stack = error.stack ?? ''
  return error.cause instanceof Error ? `${stack}\ncaused by: ${stackOf(error.cause)}` : stack
}
