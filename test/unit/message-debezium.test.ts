/** Every recorded PostgreSQL message of Debezium against ours: key, headers, value, numbers as tokens. */
import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import type { Change, ChangeBatch, Origin, Row, TableSchema } from '../../core/model.js'
import { defaultMessageOptions } from '../../sinks/formats/message-options.js'
import { createMessageFormat } from '../../sinks/formats/messages.js'
import { messageTexts, type RecordedMessage, recordedMessages, tokens } from '../support/format-messages.js'
import { ROW_1, ROW_3 } from '../support/format-rows.js'
import { change, keylessTable, pairTable, typesTable } from '../support/format-tables.js'

const RUN = '01a20743-bd51-763e-a94e-62e741edbe66'
const format = createMessageFormat({ ...defaultMessageOptions('debezium-json', 's'), runId: RUN })

interface Step {
  readonly schema: TableSchema
  /** null: a truncate. */
  readonly change: Change | null
}

const number = (token: string | null | undefined): bigint => BigInt((token ?? '').replace('number ', ''))

/** The place in the log is an input: it is taken from the recorded event. */
function originOf({ source }: NonNullable<RecordedMessage['value']>): { origin: Origin; at: bigint } {
  const at = number(source.lsn)
  const tsUs = number(source.ts_us)
  const xid = number(source.txId)
  const [previous] = JSON.parse(source.sequence!) as (string | null)[]
  if (source.snapshot !== 'false') return { at, origin: { kind: 'snapshot', tsUs, at, xid } }
  return { at, origin: { kind: 'log', txn: { ordinal: at, previous: BigInt(previous ?? 0), tsUs, xid } } }
}

/** What ours may differ in: listed in docs/formats.md. */
function comparable(value: unknown): unknown {
  const { source, transaction, ts_ms, ts_us, ts_ns, ...rest } = value as NonNullable<RecordedMessage['value']>
  const { version, snapshot, ...where } = source
  const times = [ts_ms, ts_us, ts_ns].map((time) => /^number \d+$/.test(String(time)))
  return { ...rest, times, source: { ...where, isVersion: /^\d/.test(version!), snapshot: snapshot === 'false' } }
}

/** Replays the steps in the recorded order and compares message by message. */
function compare(t: Test, topic: string, steps: readonly Step[]): number {
  const want = recordedMessages(topic).filter(({ value }) => value?.source.snapshot !== 'incremental')
  let at = 0
  for (const { schema, change } of steps) {
    const { origin, at: place } = originOf(want[at]!.value!)
    const batch: ChangeBatch =
      change === null
        ? { kind: 'truncate', schema, origin, at: place, bytes: 0 }
        : { kind: 'rows', schema, origin, changes: [{ ...change, at: place }], bytes: 0 }
    for (const message of messageTexts(format, batch)) {
      const theirs = want[at++]!
      const name = `${topic} ${at} ${theirs.value?.op ?? 'tombstone'}`
      t.strictSame(message.key === null ? null : tokens(message.key), theirs.key, `${name}: key`)
      t.strictSame(
        message.headers.map(([key, value]) => ({ key, value: /key$/.test(key) ? tokens(value!) : value })),
        theirs.headers,
        `${name}: headers`,
      )
      if (theirs.value === null) t.equal(message.value, null, `${name}: no value`)
      else {
        const value = tokens(message.value!)
        t.strictSame(comparable(value), comparable(theirs.value), `${name}: value`)
        t.strictSame(order(value), order(theirs.value), `${name}: order of fields`)
      }
    }
  }
  t.equal(at, want.length, `${topic}: all messages`)
  return at
}

/** Names of fields at every depth, in order. `transaction` is compared elsewhere. */
function order(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return null
  return Object.entries(value).flatMap(([name, inner]) => (name === 'transaction' ? name : [name, order(inner)]))
}

/** Rows of `types`, in the forms that the statements of fix_pg_row.sql leave. */
function typesSteps(name: string, full: boolean): Step[] {
  const generated = typesTable(name, { generated: true })
  const schema = typesTable(name, { generated: false })
  const at = (column: string) => schema.columns.findIndex((c) => c.name === column)
  const set = (row: Row, values: Record<string, string | undefined>): Row =>
    row.map((value, i) => (schema.columns[i]!.name in values ? values[schema.columns[i]!.name] : value))
  const step = (change: Change): Step => ({ schema, change })
  const one = ROW_1.slice(0, -1)
  const three = ROW_3.slice(0, -1)
  const two = set(
    one.map(() => null),
    { id: '2', c_ltree_like: 'dflt', c_notnull_default: '7' },
  )
  const keyOnly = (row: Row): Row => row.map((value, i) => (i === 0 ? value : undefined))
  const before = (row: Row): Row => (full ? row : keyOnly(row))
  const md5s = Array.from({ length: 400 }, (_, i) =>
    createHash('md5')
      .update(String(i + 1))
      .digest('hex'),
  ).join('')
  const stages = [
    one,
    set(one, { c_text: 'upd', c_int: '42' }),
    set(one, { c_text: 'toast-'.repeat(4000), c_int: '42' }),
    set(one, { c_text: md5s, c_int: '42' }),
  ]
  const changed = set(two, { c_bool: 't' })
  const update = (old: Row, row: Row) => step(change('u', full ? old : null, row, 0))
  const last = set(stages[3]!, { c_int: '43' })
  return [
    { schema: generated, change: change('r', null, ['11', ...ROW_1.slice(1)], 0) },
    { schema: generated, change: change('r', null, ['13', ...ROW_3.slice(1)], 0) },
    step(change('c', null, one, 0)),
    step(change('c', null, three, 0)),
    step(change('c', null, two, 0)),
    update(stages[0]!, stages[1]!),
    update(two, changed),
    update(stages[1]!, stages[2]!),
    update(stages[2]!, stages[3]!),
    update(stages[3]!, full ? last : last.map((value, i) => (i === at('c_text') ? undefined : value))),
    step(change('u', before(changed), set(changed, { id: '100' }), 0)),
    step(change('d', before(three), null, 0)),
  ]
}

t.test('every recorded message', async (t) => {
  const schema = typesTable('types', { generated: false })
  const row = (values: Record<string, string>): Row =>
    schema.columns.map(
      ({ name }) => values[name] ?? (name === 'c_ltree_like' ? 'dflt' : name === 'c_notnull_default' ? '7' : null),
    )
  const infinite = row({
    id: '4',
    c_date: 'infinity',
    c_timestamp: 'infinity',
    c_timestamptz: '-infinity',
    c_interval: 'P-1M',
    c_numeric: '0.00000000000000000001',
  })
  const ancient = row({
    id: '5',
    c_date: '0044-03-15 BC',
    c_timestamp: '0044-03-15 12:00:00 BC',
    c_timestamptz: '0044-03-15 12:00:00+00 BC',
  })
  const insert = (into: TableSchema, values: Row): Step => ({ schema: into, change: change('c', null, values, 0) })
  let compared = compare(t, 's.public.types', [
    ...typesSteps('types', false),
    insert(schema, infinite),
    insert(schema, ancient),
    insert(schema, row({ id: '6', c_numeric: 'Infinity' })),
  ])
  compared += compare(t, 's.public.types_full', [
    ...typesSteps('types_full', true),
    { schema: typesTable('types_full', { generated: false }), change: null },
  ])

  const pair = pairTable()
  const wide = pairTable(true)
  const of = (table: TableSchema) => (op: Change['op'], old: Row | null, now: Row | null) => ({
    schema: table,
    change: change(op, old, now, 0),
  })
  const [p, w, k] = [of(pair), of(wide), of(keylessTable())]
  compared += compare(t, 's.public.types_pk2', [
    p('r', null, ['10', 'seed', 's']),
    p('r', null, ['11', 'seed', 's']),
    p('c', null, ['1', 'x', 'v1']),
    p('c', null, ['1', 'y', 'v2']),
    p('u', null, ['1', 'x', 'v3']),
    p('u', ['1', 'y', undefined], ['1', 'z', 'v2']),
    p('d', ['1', 'z', undefined], null),
    w('c', null, ['2', 'n', 'after-ddl', '9']),
    { schema: wide, change: null },
    w('c', null, ['20', 'inc', 'i1', '5']),
    w('c', null, ['21', 'inc', 'i2', '5']),
    w('c', null, ['22', 'inc', 'i3', '5']),
  ])
  compared += compare(t, 's.public.nopk', [
    k('r', null, ['10', 'seed']),
    k('c', null, ['1', 'one']),
    k('c', null, ['2', 'two']),
    k('u', ['2', 'two'], ['2', 'TWO']),
    k('d', ['1', 'one'], null),
    { schema: keylessTable(), change: null },
  ])
  t.equal(compared, 56, 'messages compared')
})
