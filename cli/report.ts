/** `--report FILE`: what a run did, as JSON, replaced in one step so that a reader never sees half of it. */
import {
  fstatSync,
  lstatSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs'
import { resolve } from 'node:path'
import type { Secrets } from '../config/secrets.js'
import { TidemarkError } from '../core/errors.js'
import type { Progress, TableProgress } from '../core/pipeline.js'
import { known } from './log.js'

export interface Report {
  readonly version: 1
  readonly pipeline: string
  readonly outcome: 'done' | 'stopped' | 'failed'
  readonly error?: { readonly code: string; readonly message: string; readonly fix: string | null }
  readonly seconds: number
  readonly cpuSeconds: number
  readonly peakRssBytes: number
  readonly checkpoints: number
  readonly position: string | null
  readonly tables: Readonly<Record<string, { rows: number; events: number; bytes: number }>>
}

export interface Outcome {
  readonly pipeline: string
  readonly outcome: Report['outcome']
  readonly error?: unknown
  readonly startedMs: number
  readonly result: Pick<Progress, 'checkpoints' | 'position' | 'tables'> | null
}

export function makeReport({ pipeline, outcome, error, startedMs, result }: Outcome, secrets: Secrets): Report {
  const { user, system } = process.cpuUsage()
  return {
    version: 1,
    pipeline,
    outcome,
    ...(error === undefined ? {} : { error: describe(error, secrets) }),
    seconds: (Date.now() - startedMs) / 1000,
    cpuSeconds: (user + system) / 1_000_000,
    peakRssBytes: peakRssBytes(),
    checkpoints: result?.checkpoints ?? 0,
    position: result?.position ?? null,
    tables: Object.fromEntries((result?.tables ?? []).map((t) => [t.table, counts(t)])),
  }
}

/**
 * The path that the report will get; throws before the run when it cannot be written there. Replacing a file in one step
 * would also replace a device, a pipe or the file behind stdout, so only regular files are taken.
 */
export function claimReport(given: string, cwd: string, pipelineFile: string): string {
  if (given === '') throw refused(given, 'is no path')
  const path = followed(resolve(cwd, given), given)
  refuseOddFile(path, given)
  if (path === followed(resolve(cwd, pipelineFile), given)) throw refused(given, 'is the pipeline file')
  try {
    writeFileSync(nextOf(path), '')
  } catch (cause) {
    throw refused(given, `cannot be written (${codeOf(cause)})`, cause)
  } finally {
    rmSync(nextOf(path), { force: true })
  }
  return path
}

/** Synchronous: it must also work while a second signal ends the process. */
export function writeReport(path: string, report: Report): void {
  try {
    refuseOddFile(path, path)
    writeFileSync(nextOf(path), `${JSON.stringify(report, null, 2)}\n`)
    renameSync(nextOf(path), path)
  } catch (cause) {
    throw cause instanceof TidemarkError ? cause : refused(path, `cannot be written (${codeOf(cause)})`, cause)
  } finally {
    rmSync(nextOf(path), { force: true })
  }
}

function nextOf(path: string): string {
  return `${path}.${process.pid}.next`
}

/** A link stays, and the file that it leads to is replaced. */
function followed(path: string, given: string): string {
  try {
    return realpathSync(path)
  } catch (cause) {
    if (codeOf(cause) !== 'ENOENT') throw refused(given, `cannot be written (${codeOf(cause)})`, cause)
    if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) throw refused(given, 'is a link to nothing')
    return path
  }
}

function refuseOddFile(path: string, given: string): void {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (found.isDirectory()) throw refused(given, 'is a folder')
  if (!found.isFile()) throw refused(given, 'is not a regular file')
  for (const fd of [1, 2]) {
    const stream = openFile(fd)
    if (stream && stream.dev === found.dev && stream.ino === found.ino) {
      throw refused(given, 'is where the output of this command goes')
    }
  }
}

function openFile(fd: number): Stats | null {
  try {
    return fstatSync(fd)
  } catch {
    return null
  }
}

function refused(given: string, why: string, cause?: unknown): TidemarkError {
  return new TidemarkError('cli.report', {
    message: `the file of --report, "${given}", ${why}`,
    fix: 'Give the path of a file in a folder that exists and can be written to.',
    ...(cause === undefined ? {} : { cause }),
  })
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error)
}

function counts({ rows, events, bytes }: TableProgress): { rows: number; events: number; bytes: number } {
  return { rows, events, bytes }
}

function describe(thrown: unknown, secrets: Secrets): NonNullable<Report['error']> {
  const { code, message, fix } = known(thrown)
  return { code, message: secrets.redact(message), fix: fix === null ? null : secrets.redact(fix) }
}

/** The kernel's own high-water mark; getrusage may still hold that of the process that started this one. */
export function peakRssBytes(): number {
  try {
    const match = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))
    if (match) return Number(match[1]) * 1024
  } catch {
    // Not Linux.
  }
  return process.resourceUsage().maxRSS * 1024
}
