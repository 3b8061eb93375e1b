/**
 * 1.10 i: a place inside a transaction counts its row messages as the server sends them. The judge is the server: another
 * slot on the same log says which messages there are.
 */
import t, { type Test } from 'tap'
import { formatPosition, parsePosition } from '../../connectors/postgres/position.js'
import { PostgresTail } from '../../connectors/postgres/tail.js'
import type { Position, TableSchema } from '../../core/model.js'
import type { LogBatch } from '../../core/source.js'
import { parseLsn, pgOptionsFromUrl } from '../../drivers/postgres.js'
import { column, columnType, table } from '../support/format-tables.js'
import { createDatabase, type TestDatabase } from '../support/postgres.js'

const SLOT = 'read'
const JUDGE = 'judge'
const ROW_MESSAGES = 'IUDT'
/** Columns of the captured tables that a row message of this size fills. */
const LARGE_ROWS = 4_000

/** One publication that holds more than is captured. Slots belong to the server, so they carry the database's name. */
async function prepared(t: Test) {
  const db = await createDatabase(t, { version: '15' })
  for (const name of ['t', 'u', 'other']) {
    await db.query(
      `create table ${name} (id int primary key, v text); alter table ${name} alter v set storage external`,
    )
  }
  await db.query('create publication p for table t, u, other')
  for (const slot of [SLOT, JUDGE]) {
    await db.query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [`${db.name}_${slot}`])
  }
  return db
}

interface Sent {
  readonly kind: string
  readonly table: string
}

/** What the server sends, read from the judge's slot: row messages in order, truncates with all their tables. */
async function sentRows(db: TestDatabase): Promise<{ rows: Sent[]; kinds: string }> {
  const messages = await db.query(
    `select encode(data, 'hex') as data from pg_logical_slot_peek_binary_changes($1, null, null,
       'proto_version', '1', 'publication_names', 'p', 'messages', 'true')`,
    [`${db.name}_${JUDGE}`],
  )
  const names = new Map<number, string>()
  const rows: Sent[] = []
  let kinds = ''
  for (const { data } of messages) {
    const b = Buffer.from(data!, 'hex')
    const kind = String.fromCharCode(b[0]!)
    kinds += kind
    if (kind === 'R')
      names.set(b.readUInt32BE(1), b.toString('utf8', b.indexOf(0, 5) + 1, b.indexOf(0, b.indexOf(0, 5) + 1)))
    else if (kind === 'T') {
      const oids = Array.from({ length: b.readUInt32BE(1) }, (_, i) => b.readUInt32BE(6 + 4 * i))
      rows.push({ kind, table: oids.map((oid) => names.get(oid)).join() })
    } else if (ROW_MESSAGES.includes(kind)) rows.push({ kind, table: names.get(b.readUInt32BE(1))! })
  }
  return { rows, kinds }
}

const captured = ({ kind, table }: Sent): string[] => {
  const tables = table.split(',').filter((name) => name !== 'other')
  return tables.length === 0 ? [] : [`${kind} ${tables.join()}`]
}

const KINDS = { r: '?', c: 'I', u: 'U', d: 'D' } as const

/** The same, as the tail delivers it. */
const delivered = (batches: readonly LogBatch[]): string[] =>
  batches.flatMap(({ items }) =>
    items.flatMap((item) =>
      item.kind === 'rows'
        ? item.changes.map(({ op }) => `${KINDS[op]} ${item.schema.name}`)
        : [`T ${item.schemas.map((s) => s.name).join()}`],
    ),
  )

/** Reads from a position until everything that committed before now is delivered. */
async function readFrom(db: TestDatabase, position: Position): Promise<LogBatch[]> {
  const schemas = new Map<string, TableSchema>()
  const tail = new PostgresTail({
    connection: pgOptionsFromUrl(db.url),
    slot: `${db.name}_${SLOT}`,
    publication: 'p',
    messages: true,
    xidBase: BigInt((await db.query('select pg_snapshot_xmax(pg_current_snapshot())::text as x'))[0]!.x!),
    walSenderTimeoutMs: 0,
    verify: () => {},
    resolve: ({ name, columns }) => {
      if (name === 'other') return null
      const text = `${name} ${columns.map((c) => c.name)}`
      const schema =
        schemas.get(text) ??
        table(
          name,
          columns.map((c) => column(c.name, columnType('string', 'text'))),
        )
      schemas.set(text, schema)
      return schema
    },
  })
  const { signal } = new AbortController()
  const end = parseLsn((await db.query('select pg_current_wal_insert_lsn()::text as at'))[0]!.at!)
  await db.query(`select pg_logical_emit_message(true, 'end', '')`)
  await tail.start(position, { signal })
  const batches: LogBatch[] = []
  for await (const batch of tail.run({ signal })) {
    batches.push(batch)
    if (!batch.midTransaction && batch.ordinal >= end) break
  }
  return batches
}

async function startOf(db: TestDatabase): Promise<Position> {
  const [row] = await db.query(
    'select confirmed_flush_lsn::text as at from pg_replication_slots where slot_name = $1',
    [`${db.name}_${SLOT}`],
  )
  return row!.at as Position
}

t.test('1.10 i a resume after every row message of a mixed transaction', async (t) => {
  const db = await prepared(t)
  const from = await startOf(db)
  const open = await db.connect()
  const [begun] = await open.query('begin; select pg_current_xact_id()::text as xid')
  await open.query(`
    insert into other values (1, 'not captured');
    insert into t values (1, repeat('x', 9000)), (2, 'two');
    select pg_logical_emit_message(true, 'app', 'a note');
    insert into u values (1, 'u');
    savepoint s; insert into t values (99, 'rolled back'); rollback to s;
    update other set v = 'again';
    update t set id = 10 where id = 1;
    truncate u, other;
    alter table t add column w int default 3;
    insert into t values (3, 'three', 3);
    truncate other;
    delete from t where id = 2;
    select pg_logical_emit_message(true, 'app', 'another note');
    insert into u values (5, 'after the truncate');
    update t set v = 'last' where id = 3;
    commit`)
  const { rows, kinds } = await sentRows(db)
  t.match(kinds, /^B.*R.*I.*M.*T.*R.*T.*M.*C$/, `the transaction has every kind of message: ${kinds}`)
  t.ok(rows.length >= 12)
  const whole = await readFrom(db, from)
  t.same(delivered(whole), rows.flatMap(captured), 'from its beginning')
  const commit = whole.flatMap(({ items }) => items)[0]!.txn.ordinal
  const completed = parsePosition(from).completed
  for (let sent = 1; sent <= rows.length; sent++) {
    const inside = { rows: sent, finalLsn: commit, xid: BigInt(begun!.xid!) }
    const rest = await readFrom(db, formatPosition({ completed, inside }))
    t.same(delivered(rest), rows.slice(sent).flatMap(captured), `after ${sent} of ${rows.length} row messages`)
  }
})

t.test('1.10 i the places given inside a large transaction count what the server sent', async (t) => {
  const db = await prepared(t)
  const from = await startOf(db)
  await db.query(`do $$ begin
    for i in 1..${LARGE_ROWS} loop
      insert into other values (i, 'not captured');
      insert into t values (i, repeat('x', 200));
      if i % 7 = 0 then update t set id = -i where id = i; end if;
      if i % 11 = 0 then perform pg_logical_emit_message(true, 'app', repeat('y', 100)); end if;
      if i % 1000 = 0 then truncate u; end if;
    end loop; end $$`)
  const { rows } = await sentRows(db)
  const whole = await readFrom(db, from)
  t.same(delivered(whole), rows.flatMap(captured))
  const places = whole.filter((batch) => batch.midTransaction)
  t.ok(places.length >= 5, `${places.length} places inside`)
  for (const place of places) {
    const sent = parsePosition(place.position).inside!.rows
    const upTo = delivered(whole.slice(0, whole.indexOf(place) + 1))
    t.same(upTo, rows.slice(0, sent).flatMap(captured), `${sent} row messages`)
  }
  for (const place of [places[0]!, places[places.length >> 1]!, places.at(-1)!]) {
    const rest = await readFrom(db, place.position)
    t.same(delivered(rest), delivered(whole.slice(whole.indexOf(place) + 1)), `resumed at ${place.position}`)
  }
})
