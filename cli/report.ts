/** `--report FILE`: what a run did, as JSON, replaced in one step so that a reader never sees half of it. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import type { Secrets } from '../config/secrets.js'
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

/** Synchronous: it must also work while a second signal ends the process. */
export function writeReport(path: string, report: Report): void {
  const next = `${path}.${process.pid}.next`
  writeFileSync(next, `${JSON.stringify(report, null, 2)}\n`)
  renameSync(next, path)
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
