/**
 * Every failure a user can meet is a TidemarkError with a stable dotted code from error-codes.ts, a sentence on
 * what happened and a sentence on what to do. Bugs of ours are `core.bug`. An aborted signal is not an error.
 */
import { ERROR_CODES, type ErrorCode } from './error-codes.js'

export type { ErrorCode } from './error-codes.js'

/** Codes of connectors outside this repository; they exit with 1 unless `exit` says otherwise. */
export type ForeignCode = `x.${string}`

export interface ErrorDetails {
  /** What happened, with the names and values involved. No secrets. */
  readonly message: string
  /** What the user can do, ready to run where it is SQL or a command. */
  readonly fix?: string | undefined
  /** True: the same work may succeed when tried again from the last checkpoint. */
  readonly retriable?: boolean | undefined
  /** Path of the option involved, e.g. `source.tables`. */
  readonly at?: string | undefined
  /** Exit code of a foreign code; ours have theirs in error-codes.ts. */
  readonly exit?: 1 | 2 | 3 | undefined
  readonly cause?: unknown
}

export class TidemarkError extends Error {
  override readonly name = 'TidemarkError'
  readonly code: ErrorCode | ForeignCode
  readonly fix: string | null
  readonly retriable: boolean
  readonly at: string | null

  /** 1 failed while running, 2 bad usage or configuration, 3 source or sink not ready. */
  readonly exitCode: number

  constructor(code: ErrorCode | ForeignCode, details: ErrorDetails) {
    super(details.message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.fix = details.fix ?? null
    this.retriable = details.retriable ?? false
    this.at = details.at ?? null
    this.exitCode =
      (ERROR_CODES as Readonly<Record<string, { exit: number } | undefined>>)[code]?.exit ?? details.exit ?? 1
  }
}

/** Checks what only a bug of ours can break. Never for user input. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new TidemarkError('core.bug', { message, fix: 'Please report this with the log.' })
}

/** Any thrown value as an Error. */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}

export function isAbort(thrown: unknown, signal: AbortSignal): boolean {
  return signal.aborted && (thrown === signal.reason || (thrown as { name?: string } | null)?.name === 'AbortError')
}
