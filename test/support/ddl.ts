/** A table that is copied once, for tests of what happens to it then. */
import type { Test } from 'tap'
import { describeDifference, tableDifference } from './oracle.js'
import { createDatabase, type PostgresVersion, type TestDatabase } from './postgres.js'
import { runTidemark, writePipeline } from './process.js'

export interface Copied {
  readonly source: TestDatabase
  readonly target: TestDatabase
  readonly file: string
}

export const ROWS = `insert into x select i, 'value ' || i, i from generate_series(1, 20) i`

interface CopyOptions {
  /** Makes table x and its rows. */
  readonly sql?: string
  readonly version?: PostgresVersion
  /** Further options of the source. */
  readonly source?: Record<string, unknown>
  /** Runs after the source exists and before the first sync. */
  readonly before?: (source: TestDatabase) => Promise<unknown>
  readonly sink?: Record<string, unknown>
  /** Further blocks of the pipeline file. */
  readonly blocks?: Record<string, unknown>
}

/** Table x in a source of its own, copied into a target of its own. */
export async function copied(t: Test, options: CopyOptions = {}): Promise<Copied> {
  const version = options.version ? { version: options.version } : {}
  const source = await createDatabase(t, version)
  const target = await createDatabase(t, version)
  await source.query(options.sql ?? `create table x (id int primary key, c text, a int); ${ROWS}`)
  await options.before?.(source)
  const { file } = writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables: 'public.*', 'heartbeat.interval': '200ms', ...options.source },
    sink: options.sink ?? { type: 'postgres', url: target.url },
    pipeline: { name: source.name },
    ...options.blocks,
  })
  const once = await runTidemark(t, ['sync', file, '--once'])
  t.equal(once.code, 0, once.stderr)
  return { source, target, file }
}

export async function same(t: Test, { source, target }: Copied): Promise<void> {
  const difference = await tableDifference({ db: source, table: 'public.x' }, { db: target, table: 'public.x' })
  t.equal(difference, null, describeDifference(difference))
}

/** Runs until the message comes, and takes the statement behind it. */
export async function stops(t: Test, { file }: Copied, code: number, message: RegExp): Promise<string> {
  const run = await runTidemark(t, ['sync', file, '--until-caught-up'])
  t.equal(run.code, code, run.stderr)
  t.match(run.stderr, message)
  t.notMatch(run.stderr, /\n {4}at /, 'no stack trace')
  return /(ALTER TABLE [^;]*;)/.exec(run.stderr)?.[1] ?? ''
}

export async function goesOn(t: Test, copy: Copied, args: readonly string[] = []): Promise<string> {
  const run = await runTidemark(t, ['sync', copy.file, '--until-caught-up', ...args])
  t.equal(run.code, 0, run.stderr)
  await same(t, copy)
  return run.stderr
}
