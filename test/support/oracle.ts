/**
 * Judges of a sync. The state oracle compares two tables by the server's own text of every row, so no code of ours stands
 * between. It counts rows as a multiset: a row twice in one side and once in the other is a difference.
 */
import type { TestDatabase } from './postgres.js'

const BUCKETS = 512
const REPORTED_ROWS_MAX = 10

export interface TableDifference {
  readonly rows: { readonly source: number; readonly target: number }
  /** Rows' text, up to REPORTED_ROWS_MAX each. */
  readonly missing: readonly string[]
  readonly extra: readonly string[]
}

export interface Side {
  readonly db: Pick<TestDatabase, 'query'>
  /** As SQL writes it, e.g. `public."Odd"`, or a sub-select in parentheses. */
  readonly table: string
}

/** null: both sides hold the same rows. */
export async function tableDifference(source: Side, target: Side): Promise<TableDifference | null> {
  const [ours, theirs] = await Promise.all([summary(source), summary(target)])
  const differing = new Set<number>()
  for (const bucket of new Set([...ours.buckets.keys(), ...theirs.buckets.keys()])) {
    if (ours.buckets.get(bucket) !== theirs.buckets.get(bucket)) differing.add(bucket)
  }
  if (differing.size === 0) return null
  const missing: string[] = []
  const extra: string[] = []
  for (const bucket of differing) {
    const [left, right] = await Promise.all([rowsOf(source, bucket), rowsOf(target, bucket)])
    missing.push(...minus(left, right))
    extra.push(...minus(right, left))
    if (missing.length + extra.length >= 2 * REPORTED_ROWS_MAX) break
  }
  return {
    rows: { source: ours.rows, target: theirs.rows },
    missing: missing.slice(0, REPORTED_ROWS_MAX),
    extra: extra.slice(0, REPORTED_ROWS_MAX),
  }
}

/** One line for a failed assertion. */
export function describeDifference(difference: TableDifference | null): string {
  if (difference === null) return 'equal'
  const { rows, missing, extra } = difference
  const list = (name: string, lines: readonly string[]) => lines.map((line) => `\n  ${name}: ${line}`).join('')
  return `source has ${rows.source} rows, target ${rows.target}${list('missing', missing)}${list('extra', extra)}`
}

const HASH = `md5(t::text)`
const BUCKET = `('x' || substr(${HASH}, 1, 4))::bit(16)::int % ${BUCKETS}`

async function summary({ db, table }: Side): Promise<{ rows: number; buckets: Map<number, string> }> {
  const found = await db.query(`
    SELECT ${BUCKET} AS bucket, count(*) AS n,
      sum(('x' || substr(${HASH}, 5, 16))::bit(64)::bigint::numeric) AS a,
      sum(('x' || substr(${HASH}, 17, 16))::bit(64)::bigint::numeric) AS b
    FROM ${table} t GROUP BY 1`)
  let rows = 0
  const buckets = new Map<number, string>()
  for (const { bucket, n, a, b } of found) {
    rows += Number(n)
    buckets.set(Number(bucket), `${n} ${a} ${b}`)
  }
  return { rows, buckets }
}

async function rowsOf({ db, table }: Side, bucket: number): Promise<string[]> {
  const rows = await db.query(`SELECT t::text AS row FROM ${table} t WHERE ${BUCKET} = ${bucket} ORDER BY 1`)
  return rows.map(({ row }) => String(row))
}

function minus(left: readonly string[], right: readonly string[]): string[] {
  const counts = new Map<string, number>()
  for (const row of right) counts.set(row, (counts.get(row) ?? 0) + 1)
  return left.filter((row) => {
    const n = counts.get(row) ?? 0
    counts.set(row, n - 1)
    return n <= 0
  })
}
