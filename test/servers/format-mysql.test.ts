/**
 * The statements behind Debezium's recorded MySQL events, run on a real server and through the MySQL source: every message that our
 * format makes must equal the recorded one, numbers as tokens. Places in the binlog are judged by the server itself.
 */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { mysqlSource } from '../../connectors/mysql/index.js'
import { runPipeline } from '../../core/pipeline.js'
import type { Sink } from '../../core/sink.js'
import { defaultMessageOptions } from '../../sinks/formats/message-options.js'
import { createMessageFormat } from '../../sinks/formats/messages.js'
import { type MessageText, messageTexts, tokens } from '../support/format-messages.js'
import { createMysqlDatabase } from '../support/mysql.js'
import { until } from '../support/until.js'

const FIXTURES = new URL('../fixtures/debezium/', import.meta.url)
const RUN = '01a2072f-fd12-7a4e-9a26-650c146e7f66'
const WAIT_MS = 60_000
const FIRST = { id: '', total_order: 'number 1', data_collection_order: 'number 1' }

type Source = Record<string, string | null>
type Row = Record<string, unknown> | null
interface Event {
  readonly before: Row
  readonly after: Row
  readonly source: Source
  readonly transaction: Record<string, string> | null
  readonly op: string
}
interface Recorded {
  readonly topic: string
  readonly key: unknown
  readonly headers: readonly { key: string; value: unknown }[]
  readonly value: Event | null
}

const statements = (name: string): string[] =>
  readFileSync(new URL(name, FIXTURES), 'utf8')
    .split(/;(?=\s*(?:$|\n|[a-z]))/)
    .map((statement) => statement.trim())
    .filter((statement) => statement !== '')

const recorded = readFileSync(new URL('mysql-messages.jsonl', FIXTURES), 'utf8')
  .trim()
  .split('\n')
  .map((line) => tokens(line) as Recorded)

/** Where ours differs on purpose: docs/formats.md lists it. */
function expected(row: Row): Row {
  if (row === null) return null
  const { c_bigint_u: big, c_json: json, c_year: year } = row
  const spaced =
    typeof json === 'string'
      ? json
          .replaceAll('":', '": ')
          .replace(/,(?=["\d\w])/g, ', ')
          .replaceAll(':  ', ': ')
          .replaceAll(',  ', ', ')
      : json
  return {
    ...row,
    ...('c_bigint_u' in row ? { c_bigint_u: big === 'number -1' ? 'number 18446744073709551615' : big } : {}),
    ...('c_json' in row ? { c_json: spaced } : {}),
    ...('c_year' in row ? { c_year: year === 'number 1900' ? 'number 0' : year } : {}),
  }
}

t.test('every recorded MySQL message is matched', async (t) => {
  const database = await createMysqlDatabase(t, 'mysql')
  const db = await database.connect()
  for (const statement of statements('fix_my.sql')) await db.query(statement)
  const [rows] = statements('fix_my_row.sql')
  await db.query(rows!.replace('\n(1,', '\n(11,').replace('\n(3,', '\n(13,'))

  const format = createMessageFormat({
    ...defaultMessageOptions('debezium-json', 'm'),
    runId: RUN,
    transactionIds: 'transaction',
  })
  const got = new Map<string, MessageText[]>()
  let checkpoint: string | null = null
  const sink: Sink = {
    connector: 'test',
    guarantee: 'exactly-once',
    completesMoves: false,
    keepsMoves: true,
    marksSnapshot: true,
    open: async () => ({
      checkpoint,
      prepare: async () => {},
      write: async (batches) => {
        for (const batch of batches) {
          const list = got.get(batch.schema.name) ?? []
          got.set(batch.schema.name, [...list, ...messageTexts(format, batch)])
        }
      },
      commit: async (text) => {
        checkpoint = text
      },
      close: async () => {},
    }),
  }
  const tables = ['types', 'types_pk2'].map((name) => `${database.name}.${name}`).join(',')
  const options = mysqlSource.options.parse({
    url: database.captureUrl,
    tables,
    'visibility.margin': 50,
  }) as never
  const stop = new AbortController()
  const running = runPipeline({
    name: database.name,
    source: () => mysqlSource.create(options, { pipeline: database.name }),
    sink: () => sink,
    checkpointIntervalMs: 20,
    signal: stop.signal,
  })
  running.catch(() => {})
  const count = (table: string) => got.get(table)?.length ?? 0
  await until(() => count('types') >= 2 && count('types_pk2') >= 1, { timeoutMs: WAIT_MS })
  for (const file of ['fix_my_row.sql', 'fix_my_chg.sql', 'fix_my_zero.sql'])
    for (const statement of statements(file)) await db.query(statement)
  const wanted = (table: string) => recorded.filter(({ topic }) => topic === `m.fix.${table}`)
  await until(() => ['types', 'types_pk2'].every((table) => count(table) >= wanted(table).length), {
    timeoutMs: WAIT_MS,
  }).catch(() => {})
  stop.abort()
  await running

  const events: Event[] = []
  for (const table of ['types', 'types_pk2']) {
    const theirs = wanted(table)
    const ours = got.get(table) ?? []
    t.equal(ours.length, theirs.length, `${table}: messages`)
    for (const [i, message] of ours.slice(0, theirs.length).entries()) {
      const want = theirs[i]!
      const name = `${table} ${i} ${want.value?.op ?? 'tombstone'}`
      t.strictSame(message.key === null ? null : tokens(message.key), want.key, `${name}: key`)
      t.strictSame(
        message.headers.map(([key, value]) => ({ key, value: /key$/.test(key) ? tokens(value!) : value })),
        want.headers,
        `${name}: headers`,
      )
      if (want.value === null) {
        t.equal(message.value, null, `${name}: no value`)
        continue
      }
      const event = tokens(message.value!) as Event
      t.strictSame(Object.keys(event), Object.keys(want.value), `${name}: fields`)
      t.equal(event.op, want.value.op, `${name}: op`)
      t.strictSame(event.before, expected(want.value.before), `${name}: before`)
      t.strictSame(event.after, expected(want.value.after), `${name}: after`)
      t.strictSame(Object.keys(event.after ?? {}), Object.keys(want.value.after ?? {}), `${name}: order of columns`)
      const { source } = event
      const same = ({ connector, name, db, sequence, table, row, query }: Source) => ({
        connector,
        name,
        db,
        sequence,
        table,
        row,
        query,
      })
      t.strictSame(Object.keys(source), Object.keys(want.value.source), `${name}: fields of source`)
      t.strictSame(same(source), { ...same(want.value.source), db: database.name }, `${name}: source`)
      t.equal(source.snapshot === 'false', want.value.source.snapshot === 'false', `${name}: snapshot`)
      if (source.snapshot === 'false') {
        // A truncate is a transaction of its own, also here.
        const { id: _, ...place } = event.transaction!
        const { id: __, ...theirPlace } = want.value.transaction ?? FIRST
        t.strictSame(place, theirPlace, `${name}: place in the transaction`)
        t.equal(event.transaction!.id, source.gtid, `${name}: the transaction is named by its GTID`)
        events.push(event)
      } else {
        t.strictSame(
          { server: source.server_id, gtid: source.gtid, thread: source.thread },
          { server: 'number 0', gtid: null, thread: null },
          `${name}: of a snapshot`,
        )
        t.match(source.file, /\.\d{6}$/)
      }
    }
  }

  const [server] = await db.query('SELECT @@server_id AS id, @@server_uuid AS uuid, CONNECTION_ID() AS thread')
  const kinds: Readonly<Record<string, RegExp>> = {
    c: /^Write_rows/,
    u: /^Update_rows/,
    d: /^Delete_rows/,
    t: /^Query/,
  }
  for (const { op, source } of events) {
    const pos = source.pos!.replace('number ', '')
    const what = `${op} ${source.table} at ${source.file}:${pos}`
    const [found] = await db.query(`SHOW BINLOG EVENTS IN '${source.file}' FROM ${pos} LIMIT 1`)
    t.equal(found?.Pos, pos, `${what} is an event`)
    // A key that changes is a delete and an insert of one update.
    if (!/^Update_rows/.test(found?.Event_type ?? '')) t.match(found?.Event_type, kinds[op]!, what)
    t.match(source.gtid, new RegExp(`^${server!.uuid}:\\d+$`), `${what}: gtid`)
    t.equal(source.server_id, `number ${server!.id}`, `${what}: server`)
    t.equal(source.thread, `number ${server!.thread}`, `${what}: thread`)
  }
})
