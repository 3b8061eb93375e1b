/**
 * Whether rows of a partition are older than a moment: what tells VACUUM FULL from TRUNCATE and a partition that was
 * attached with rows from one that was filled since. Row versions keep the number of the transaction that wrote them, also
 * when frozen or moved by VACUUM FULL, while TRUNCATE leaves none and a rewrite by ALTER TABLE writes all anew. Searches
 * have a connection of their own, which waits neither for locks nor for ever.
 */
import { type PgConnection, sqlState } from '../../drivers/postgres.js'
import { leafOf } from './storage.js'
import type { Answer, Doubt } from './storage-change.js'
import type { TableTag } from './table-tag.js'

const LOCK_WAIT_MS_MAX = 500
/** Rows of before lie first, so that a search that long has passed all that are likely. */
const SEARCH_MS_MAX = 3_000
/** All searches of one look. The rest is asked at the next one. */
const LOOK_MS_MAX = 10_000
const SIZE_LOCK_WAIT_MS_MAX = 100

const SESSION_SQL = `set lock_timeout = ${LOCK_WAIT_MS_MAX}; set statement_timeout = ${SEARCH_MS_MAX};
  set row_security = off; set jit = off; set synchronize_seqscans = off; set max_parallel_workers_per_gather = 0`

/**
 * ATTACH redefines every column of the partition, so that one with a column as it was created never went through it: it
 * was made by CREATE TABLE ... PARTITION OF. Takes no lock.
 */
const LEAVES_SQL = `
with recursive up(leaf, relid, parent, joined, command) as (
  select inhrelid, inhrelid, inhparent, xmin, cmin from pg_inherits where inhrelid = any($1::oid[])
  union all select u.leaf, i.inhrelid, i.inhparent, i.xmin, i.cmin from up u join pg_inherits i on i.inhrelid = u.parent)
select c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), pg_snapshot_xmax(pg_current_snapshot())::text, (
  select json_agg(json_build_array(u.joined::text, u.command::text, exists (
    select from pg_attribute made join pg_attribute a on a.attrelid = made.attrelid and a.attnum > 0
      and a.xmin = made.xmin and a.cmin = made.cmin
    where made.attrelid = u.relid and made.attnum = -1 and made.xmin = u.joined)))
  from up u where u.leaf = c.oid)
from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = any($1::oid[])`

type Edge = readonly [joined: string, command: string, created: boolean]

const LOW_HALF = (1n << 32n) - 1n

/** What the doubts' partitions answer, by OID. Those that could not be asked now answer `busy`. */
export async function askRows(
  control: PgConnection,
  connect: () => Promise<PgConnection>,
  asked: readonly Doubt[],
): Promise<Map<string, Answer>> {
  const answers = new Map<string, Answer>()
  if (asked.length === 0) return answers
  const found = new Map(
    (await control.query(LEAVES_SQL, [asked.map(({ leaf }) => leaf)])).map((row) => [row[0]!, row] as const),
  )
  const deadline = Date.now() + LOOK_MS_MAX
  let connection: PgConnection | null = null
  try {
    for (const { leaf, about, since } of asked) {
      const [, name, next, text] = found.get(leaf) ?? []
      const edges = text == null ? [] : (JSON.parse(text) as Edge[])
      if (about === 'gone') answers.set(leaf, name == null ? 'gone' : 'exists')
      else if (name == null || Date.now() > deadline) answers.set(leaf, 'busy')
      else if (about === 'attached' && edges.every(([, , created]) => created)) answers.set(leaf, 'created')
      else {
        connection ??= await opened(connect)
        const old = since === null ? beforeAttached(edges, BigInt(next!)) : beforeTransaction(since)
        answers.set(leaf, await search(connection, name, old))
      }
    }
  } finally {
    await connection?.close()
  }
  return answers
}

async function opened(connect: () => Promise<PgConnection>): Promise<PgConnection> {
  const connection = await connect()
  await connection.query(SESSION_SQL)
  return connection
}

async function search(connection: PgConnection, name: string, old: string): Promise<Answer> {
  try {
    const [[answer]] = (await connection.query(
      `with now as materialized (select pg_snapshot_xmax(pg_current_snapshot())::text::int8 as next)
       select case when exists (select from only ${name} where ${old}) then 'old'
         when exists (select from only ${name}) then 'newer' else 'empty' end`,
    )) as [[Answer]]
    return answer
  } catch (error) {
    const state = sqlState(error)
    if (state === '42501') return 'denied'
    if (state === '57014') return 'slow'
    // It is locked, or dropped or renamed since.
    if (state === '55P03' || state === '42P01' || state === '3F000') return 'busy'
    throw error
  }
}

/** How many transactions ago a row version was written. */
const AGE = `((select next from now) - xmin::text::int8) & ${LOW_HALF}`

function beforeTransaction(since: string): string {
  return `${AGE} > (select next from now) - ${BigInt(since)}`
}

/** Before the last of the steps that attached it; inside that very transaction by its commands. */
function beforeAttached(edges: readonly Edge[], next: bigint): string {
  const age = ([joined]: Edge) => (next - BigInt(joined)) & LOW_HALF
  const last = [...edges].sort((a, b) => Number(age(a) - age(b)) || Number(b[1]) - Number(a[1]))[0]!
  const [joined, command] = [BigInt(last[0]), BigInt(last[1])]
  return `(${AGE} > (((select next from now) - ${joined}) & ${LOW_HALF}) or xmin = '${joined}' and cmin::text::int8 < ${command})`
}

interface Size {
  readonly empty: boolean
  readonly file: string | null
}

/** Partitions that have no pages. One that had some is not looked at again while its storage stays. */
export class EmptyPartitions {
  readonly #filled = new Set<string>()

  /** Adds to tags which partitions are empty; where somebody has one locked, none is known to be. */
  async mark(connection: PgConnection, tags: readonly TableTag[]): Promise<Map<TableTag, TableTag>> {
    const marked = new Map<TableTag, TableTag>()
    const open = tags.flatMap(({ files }) => Object.entries(files).filter(([leaf, text]) => this.#unknown(leaf, text)))
    if (open.length === 0) return marked
    const sized = await this.#sizes(
      connection,
      open.map(([leaf]) => leaf),
    )
    for (const [leaf, text] of open) if (sized.get(leaf)?.empty === false) this.#filled.add(keyOf(leaf, text))
    // Of storage that came since the tags were read it says nothing about theirs.
    const empty = (leaf: string, text: string) => {
      const size = sized.get(leaf)
      return size?.empty === true && size.file === leafOf(leaf, text, '').file
    }
    for (const tag of tags) {
      const files = Object.entries(tag.files).map(([leaf, text]) => [
        leaf,
        empty(leaf, text) ? text.replace(/^\d*/, '$&-') : text,
      ])
      marked.set(tag, { ...tag, files: Object.fromEntries(files) })
    }
    return marked
  }

  #unknown(leaf: string, text: string): boolean {
    return / \S* \S/.test(text) && !this.#filled.has(keyOf(leaf, text))
  }

  async #sizes(connection: PgConnection, leaves: readonly string[]): Promise<Map<string, Size>> {
    try {
      const rows = await connection.query(
        `set local lock_timeout = ${SIZE_LOCK_WAIT_MS_MAX};
         select x, (pg_relation_size(x) = 0)::text, pg_relation_filenode(x)::text from unnest('{${leaves.join(',')}}'::oid[]) x`,
      )
      return new Map(rows.map(([leaf, empty, file]) => [leaf!, { empty: empty === 'true', file: file ?? null }]))
    } catch (error) {
      if (sqlState(error) !== '55P03') throw error
      return new Map()
    }
  }
}

function keyOf(leaf: string, text: string): string {
  return `${leaf}:${text.split(' ', 1)[0]}`
}
