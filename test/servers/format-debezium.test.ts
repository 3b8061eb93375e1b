/**
 * The statements behind the recorded Debezium events, run on a real server: what our format makes of the server's own
 * text must equal every recorded value. Changes are found by reading each table before and after each statement.
 */
import { readFileSync } from 'node:fs'
import t from 'tap'
import type { Change, ChangeBatch, Row, TableSchema } from '../../core/model.js'
import { SESSION_SETTINGS } from '../../drivers/postgres.js'
import { createFormat } from '../../sinks/formats/format.js'
import { type Envelope, linesOf, parseExact, recorded, shortened, staticSource } from '../support/format-fixtures.js'
import { change, keylessTable, logOrigin, pairTable, SNAPSHOT, typesTable } from '../support/format-tables.js'
import { createDatabase, type TestConnection } from '../support/postgres.js'

const FIXTURES = new URL('../fixtures/debezium/', import.meta.url)
const format = createFormat({ name: 'debezium-json', logicalName: 's' })

/** Statements of a psql script, its comments and commands left out. */
function script(name: string, variables: Readonly<Record<string, string>> = {}): string[] {
  let text = readFileSync(new URL(name, FIXTURES), 'utf8')
  for (const [variable, value] of Object.entries(variables)) text = text.replaceAll(`:${variable}`, value)
  return text
    .replace(/^\\.*$/gm, '')
    .replace(/--.*$/gm, '')
    .split(/;(?=\s*(?:$|\n|[a-z]))/)
    .map((statement) => statement.trim())
    .filter((statement) => statement !== '')
}

interface Watched {
  schema: TableSchema
  readonly identity: 'key' | 'full'
}

type Image = ReadonlyMap<string, Row>

/** All rows in the order they were written, by a text of their key. */
async function imageOf(db: TestConnection, { schema }: Watched): Promise<Image> {
  const rows = await db.query(`select * from public.${schema.name} order by ctid`)
  const image = rows.map((row) => {
    const values = schema.columns.map(({ name }) => row[name] ?? null)
    const key = schema.key.length === 0 ? [0] : schema.key
    return [key.map((i) => values[i]).join('|'), values] as const
  })
  return new Map(image)
}

function changesBetween({ schema, identity }: Watched, old: Image, now: Image, unsent: ReadonlySet<string>): Change[] {
  const keyOnly = (row: Row): Row => row.map((value, i) => (schema.key.includes(i) ? value : undefined))
  const gone = [...old].filter(([key]) => !now.has(key)).map(([, row]) => row)
  const fresh = [...now].filter(([key]) => !old.has(key)).map(([, row]) => row)
  const out: Change[] = []
  const before = (row: Row): Row => (identity === 'full' ? row : keyOnly(row))
  if (gone.length === 1 && fresh.length === 1) return [change('u', before(gone[0]!), fresh[0]!, 1)]
  for (const [key, row] of now) {
    const was = old.get(key)
    if (was === undefined) out.push(change('c', null, row, 1))
    else if (JSON.stringify(was) !== JSON.stringify(row)) {
      const sent = row.map((value, i) => (unsent.has(schema.columns[i]!.name) && was[i] === value ? undefined : value))
      out.push(change('u', identity === 'full' ? was : null, sent, 1))
    }
  }
  for (const row of gone) out.push(change('d', before(row), null, 1))
  return out
}

t.test('every recorded value is matched', async (t) => {
  const database = await createDatabase(t, { version: '15' })
  const db = await database.connect()
  for (const statement of script('fix_pg.sql')) await db.query(statement)
  for (const [name, value] of Object.entries(SESSION_SETTINGS))
    if (name !== 'search_path') await db.query('select set_config($1, $2, false)', [name, value])
  await db.query("set search_path = 'public'")

  const got: Envelope[] = []
  const emit = (schema: TableSchema, origin: ChangeBatch['origin'], changes: readonly Change[]) => {
    got.push(...linesOf(format.encode({ kind: 'rows', schema, origin, changes, bytes: 0 })).map(parseExact))
  }
  const [seed] = script('fix_pg_row.sql', { T: 'types' })
  for (const name of ['types', 'types_full']) {
    await db.query(seed!.replace('into types(', `into ${name}(`).replace('\n(1,', '\n(11,').replace('\n(3,', '\n(13,'))
  }
  await db.query("insert into types_pk2 values (10,'seed','s'),(11,'seed','s')")
  await db.query("insert into nopk values (10,'seed')")

  const types: Watched = { schema: typesTable('types', { generated: true }), identity: 'key' }
  const full: Watched = { schema: typesTable('types_full', { generated: true }), identity: 'full' }
  const pair: Watched = { schema: pairTable(), identity: 'key' }
  const keyless: Watched = { schema: keylessTable(), identity: 'full' }
  for (const watched of [types, full, pair, keyless]) {
    const rows = [...(await imageOf(db, watched)).values()]
    emit(
      watched.schema,
      SNAPSHOT,
      rows.map((row) => change('r', null, row, 538_792_136)),
    )
  }

  const run = async (watched: Watched, statement: string) => {
    const old = await imageOf(db, watched)
    await db.query(statement)
    if (/^(truncate|alter)/.test(statement)) return
    // What a server before 18 sends: no generated columns, and no unchanged TOAST value under the key's identity.
    const unsent = new Set(/c_int = 43/.test(statement) && watched.identity === 'key' ? ['c_text'] : [])
    emit(watched.schema, logOrigin(1n), changesBetween(watched, old, await imageOf(db, watched), unsent))
  }
  for (const [watched, name] of [
    [types, 'types'],
    [full, 'types_full'],
  ] as const) {
    watched.schema = typesTable(name, { generated: false })
    for (const statement of script('fix_pg_row.sql', { T: name })) await run(watched, statement)
  }
  for (const statement of script('fix_pg_more.sql')) {
    if (/pg_logical_emit/.test(statement)) continue
    if (/^alter/.test(statement)) pair.schema = pairTable(true)
    await run(/nopk/.test(statement) ? keyless : pair, statement)
    for (const [, list] of statement.matchAll(/^truncate (.*)$/g)) {
      for (const name of list!.split(', ')) {
        const { schema } = [pair, full, keyless].find((watched) => watched.schema.name === name)!
        const lines = linesOf(format.encode({ kind: 'truncate', schema, origin: logOrigin(1n), at: 1, bytes: 0 }))
        got.push(...lines.map(parseExact))
      }
    }
  }
  await run(pair, "insert into types_pk2 values (20,'inc','i1'),(21,'inc','i2'),(22,'inc','i3')")
  for (const statement of script('fix_pg_last.sql')) await run(types, statement)

  // The incremental snapshot of the recording repeats rows that were streamed before.
  const want = recorded().filter(({ source }) => source.snapshot !== 'incremental')
  const counts = { checked: 0 }
  for (const table of ['types', 'types_full', 'types_pk2', 'nopk']) {
    const ours = got.filter(({ source }) => source.table === table)
    const theirs = want.filter(({ source }) => source.table === table)
    t.strictSame(
      ours.map(({ op }) => op),
      theirs.map(({ op }) => op),
      `${table}: operations`,
    )
    theirs.forEach((event, i) => {
      const mine = ours[i]!
      t.strictSame(shortened(mine.before), event.before, `${table} ${i} ${event.op}: before`)
      t.strictSame(shortened(mine.after), event.after, `${table} ${i} ${event.op}: after`)
      t.strictSame(staticSource(mine), staticSource(event), `${table} ${i}: source`)
      t.strictSame(Object.keys(mine.source), Object.keys(event.source))
      for (const field of ['ts_ms', 'ts_us', 'ts_ns', 'txId', 'lsn'] as const)
        t.match(String(mine.source[field]), /^\d+$/, `${field} is a number`)
      t.match(mine.source.sequence, /^\[(null|"\d+"),"\d+"\]$/)
      counts.checked++
    })
  }
  t.equal(counts.checked, want.length)
  t.equal(counts.checked, 49)
})

t.test('both interval styles of the server, and the forms of every year', async (t) => {
  const database = await createDatabase(t, { version: '15' })
  const db = await database.connect()
  await db.query("set timezone = 'UTC'")
  const schema = typesTable('types', { generated: false })
  const at = (name: string) => schema.columns.findIndex((column) => column.name === name)
  const encoded = async (name: string, sql: string): Promise<unknown> => {
    const [row] = await db.query(`select (${sql})::text as v`)
    const values = schema.columns.map((_, i) => (i === at(name) ? row!.v! : null))
    const batch: ChangeBatch = {
      kind: 'rows',
      schema,
      origin: SNAPSHOT,
      changes: [change('r', null, values, 1)],
      bytes: 0,
    }
    return parseExact(linesOf(format.encode(batch))[0]!).after![name]
  }
  const intervals = ['-1 year 2 mons -3 days 04:05:06.7', '1 day -00:00:00.000001', '0', '100 hours', '-178000 years']
  for (const text of intervals) {
    await db.query("set intervalstyle = 'iso_8601'")
    const iso = await encoded('c_interval', `interval '${text}'`)
    await db.query("set intervalstyle = 'postgres'")
    t.equal(await encoded('c_interval', `interval '${text}'`), iso, text)
    t.match(String(iso), /^-?\d+$/)
  }
  const moments = [
    '4713-11-24 00:00:00 BC',
    '0001-12-31 23:59:59.999999 BC',
    '0001-01-01',
    '1969-12-31 23:59:59.1',
    '2024-02-29 00:00:00',
    '9999-12-31',
    '10000-01-01 00:00:00.5',
    '294246-12-31 23:59:59.999999',
  ]
  for (const text of moments) {
    const [row] = await db.query(`select (extract(epoch from timestamp '${text}') * 1000000)::numeric(30,0) as us`)
    t.equal(String(await encoded('c_timestamp', `timestamp '${text}'`)), row!.us, text)
  }
})
