/** Every recorded PostgreSQL message of Debezium against ours: key, headers, value, numbers as tokens. */
import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import type { Change, ChangeBatch, Origin, Row, TableSchema } from '../../core/model.js'
import { semanticType } from '../../sinks/formats/connect-schema.js'
import { DEFAULT_MODES, type DebeziumModes } from '../../sinks/formats/debezium-modes.js'
import { defaultMessageOptions } from '../../sinks/formats/message-options.js'
import { createMessageFormat } from '../../sinks/formats/messages.js'
import { fixture, messageTexts, type RecordedMessage, recordedMessages, tokens } from '../support/format-messages.js'
import { ROW_1, ROW_3 } from '../support/format-rows.js'
import {
  change,
  column,
  columnType,
  keylessTable,
  logOrigin,
  pairTable,
  table,
  typesTable,
} from '../support/format-tables.js'

const RUN = '01a20743-bd51-763e-a94e-62e741edbe66'
const format = createMessageFormat({ ...defaultMessageOptions('debezium-json', 's'), runId: RUN })

function rowsOf(schema: TableSchema, changes: readonly Change[]): ChangeBatch {
  return { kind: 'rows', schema, origin: logOrigin(1n), changes, bytes: 0 }
}

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

t.test('embedded schemas are the recorded ones, byte for byte', async (t) => {
  const own = createMessageFormat({ ...defaultMessageOptions('debezium-json', 's'), runId: RUN, includeSchema: true })
  const recorded = fixture('postgres-schemas.jsonl')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { topic: string; key: unknown; value: unknown })
  const nth = (topic: string, n: number) => recorded.filter((schemas) => schemas.topic === `s.public.${topic}`)[n]!
  const cases: [TableSchema, { key: unknown; value: unknown }][] = [
    [typesTable('types', { generated: true }), nth('types', 0)],
    [typesTable('types_full', { generated: true }), nth('types_full', 0)],
    [typesTable('types', { generated: false }), nth('types', 1)],
    [typesTable('types_full', { generated: false }), nth('types_full', 1)],
    [pairTable(), nth('types_pk2', 0)],
    [pairTable(true), nth('types_pk2', 1)],
    [keylessTable(), nth('nopk', 0)],
  ]
  for (const [schema, want] of cases) {
    const row = schema.name.startsWith('types_pk2')
      ? ['1', 'b', 'v', '9'].slice(0, schema.columns.length)
      : schema.name === 'nopk'
        ? ['1', 'x']
        : ROW_1.slice(0, schema.columns.length)
    const bare = messageTexts(format, rowsOf(schema, [change('c', null, row, 1)]))[0]!
    const [got] = messageTexts(own, rowsOf(schema, [change('c', null, row, 1)]))
    const payload = (text: string | null, wrapped: unknown): string | null =>
      text === null ? null : `{"schema":${JSON.stringify(wrapped)},"payload":${text}}`
    t.equal(got!.key, payload(bare.key, want.key), `${schema.name}: key`)
    const times = (text: string | null) => text?.replace(/"ts_ms":\d+,"ts_us":\d+,"ts_ns":\d+\}/, '') ?? null
    t.equal(times(got!.value), times(payload(bare.value, want.value)), `${schema.name}: value`)
  }

  const strict = table('strict', [
    column('id', columnType('int32', 'int4'), { nullable: false }),
    column('n', columnType('decimal', 'numeric', { precision: 5, scale: 2 }), { nullable: false }),
    column('s', columnType('string', 'text'), { nullable: false }),
    column('d', columnType('int32', 'int4'), { nullable: false, defaultValue: '7' }),
    column('z', columnType('int32', 'int4')),
  ])
  const moved = rowsOf(strict, [
    change('u', ['1', undefined, undefined, undefined, undefined], ['2', '1', '', '3', null], 1),
  ])
  const [gone, , came] = messageTexts(own, moved)
  t.strictSame(
    (tokens(gone!.value!) as { payload: { before: unknown } }).payload.before,
    { id: 'number 1', n: 'AA==', s: '', d: 'number 7', z: null },
    'a value that may not be null is invented, as Debezium does it',
  )
  t.match(gone!.key, /^\{"schema":\{.*\},"payload":\{"id":1\}\}$/)
  t.strictSame(gone!.headers[0], ['__debezium.newkey', '{"id":2}'], 'headers hold the key alone')
  t.strictSame(came!.headers[0], ['__debezium.oldkey', '{"id":1}'])
})

const MODES: Readonly<Record<string, Partial<DebeziumModes>>> = {
  default: {},
  'string-connect': { decimal: 'string', time: 'connect' },
  'double-isostring': { decimal: 'double', time: 'isostring', binary: 'base64', interval: 'string', unknown: true },
  'nano-hex': { time: 'nanoseconds', binary: 'hex', moneyDigits: 4, unknown: true },
}

t.test('every type under every recorded option set', async (t) => {
  const cells = fixture('types-postgres.md')
    .split('\n')
    .filter((line) => /^\| (id|c_)/.test(line))
    .map((line) => line.slice(2, -2).split(' | '))
  const wanted = new Map(cells.map(([name, mode, ...rest]): [string, string[]] => [`${name} ${mode}`, rest]))
  t.equal(wanted.size, cells.length)
  const schema = typesTable('types', { generated: false })
  const used = new Set<string>()
  for (const [mode, given] of Object.entries(MODES)) {
    const modes = { ...DEFAULT_MODES, ...given }
    const own = createMessageFormat({ ...defaultMessageOptions('debezium-json', 's'), modes })
    const [one, three] = messageTexts(
      own,
      rowsOf(schema, [change('c', null, ROW_1.slice(0, -1), 1), change('c', null, ROW_3.slice(0, -1), 2)]),
    ).map(({ value }) => (tokens(value!) as { after: Record<string, unknown> }).after)
    for (const { name, type } of schema.columns) {
      const id = wanted.has(`${name} ${mode}`) ? `${name} ${mode}` : `${name} default`
      used.add(id)
      const want = wanted.get(id)
      if (want === undefined) {
        t.notOk(name in one!, `${name} is left out under ${mode}`)
        continue
      }
      const semantic = semanticType(type, modes)
      t.equal(described(semantic), want[0], `${name} under ${mode}: schema`)
      const same = (token: unknown) => (/double|float|Point/.test(want[0]!) ? approximate(token) : token)
      t.strictSame(same(one![name]), same(tokens(want[1]!)), `${name} under ${mode}: row 1`)
      t.strictSame(same(three![name]), same(tokens(want[2]!)), `${name} under ${mode}: row 3`)
    }
  }
  t.strictSame(
    [...wanted.keys()].filter((id) => !used.has(id)),
    [],
    'every row of the table was compared',
  )
})

/** The table holds doubles as another language spells them. */
function approximate(token: unknown): unknown {
  return JSON.parse(JSON.stringify(token).replace(/"number ([^"]*)"/g, (_, n) => String(Number(n))))
}

function described({ type, name, parameters, items }: ReturnType<typeof semanticType>): string {
  if (items !== undefined) return `array<${described(items).replaceAll('`', '').replace(/ \{.*/, '')}>`
  const pairs = Object.entries(parameters ?? {}).map(([key, value]) => `"${key}": "${value}"`)
  return `${type}${name === undefined ? '' : ` \`${name}\``}${pairs.length === 0 ? '' : ` {${pairs.join(', ')}}`}`
}

t.test('transaction metadata as recorded, with ids of events; with ids of transactions, one for each', async (t) => {
  const recorded = (include: boolean) => ({
    ...defaultMessageOptions('debezium-json', 's'),
    transactionIds: 'event' as const,
    includeSchema: include,
  })
  const stream = recordedStream()
  const own = createMessageFormat(recorded(false))
  const one = createMessageFormat({ ...recorded(false), transactionIds: 'transaction' })
  let checked = 0
  let ordinal = 0n
  const ids = new Map<bigint, Set<string>>()
  const sent: unknown[] = []
  const want: unknown[] = []
  const take = (made: readonly { key: Buffer; value: Buffer }[] | undefined) => {
    for (const { key, value } of made ?? []) sent.push([tokens(key.toString()), tokens(value.toString())])
  }
  for (const [i, { topic, key, value }] of stream.entries()) {
    if (topic === 's.transaction') {
      // The end of a transaction names its commit, which its events know before.
      if ((value as { status?: string }).status === 'BEGIN') {
        const end = stream.slice(i).find((next) => (next.value as { status?: string } | null)?.status === 'END')
        ordinal = BigInt((end?.value as { id: string } | undefined)?.id.split(':')[1] ?? 10n ** 15n)
      }
      want.push([key, value])
      continue
    }
    const { source, transaction, op } = value as unknown as NonNullable<RecordedMessage['value']>
    const { at, origin } = originOf(value as never)
    if (origin.kind !== 'log') continue
    const schema = {
      nopk: keylessTable(),
      types_pk2: pairTable(),
      types: typesTable('types', { generated: false }),
      types_full: typesTable('types_full', { generated: false }),
    }[source.table!]!
    const placed: Origin = { kind: 'log', txn: { ...origin.txn, ordinal } }
    const row = schema.columns.map(() => '1')
    const batch: ChangeBatch =
      op === 't'
        ? { kind: 'truncate', schema, origin: placed, at, bytes: 0 }
        : { kind: 'rows', schema, origin: placed, changes: [change('c', null, row, at)], bytes: 0 }
    const event = { ...batch, schema: { ...schema, columns: schema.columns.slice(0, 1), key: [] } } as ChangeBatch
    take(own.transactions?.before(event))
    const [message] = messageTexts(own, event)
    t.strictSame((tokens(message!.value!) as { transaction: unknown }).transaction, transaction, `event ${i}`)
    one.transactions?.before(event)
    const [same] = messageTexts(one, event)
    const { id } = JSON.parse(same!.value!).transaction
    ids.set(ordinal, (ids.get(ordinal) ?? new Set()).add(id))
    checked++
  }
  take(own.transactions?.end())
  t.strictSame(sent.slice(0, want.length), want, 'BEGIN and END')
  t.ok(checked > 35 && want.length >= 60, `${checked} events, ${want.length} messages of the transaction topic`)
  t.ok([...ids.values()].every((set) => set.size === 1))
  t.equal(new Set([...ids.values()].flatMap((set) => [...set])).size, ids.size)

  const schemas = fixture('postgres-schemas.jsonl')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { topic: string; key: unknown; value: unknown })
    .find(({ topic }) => topic === 's.transaction')!
  const wrapped = createMessageFormat(recorded(true))
  const [begin] = wrapped.transactions!.before(rowsOf(keylessTable(), [change('c', null, ['1', 'x'], 1)]))
  t.equal(JSON.stringify(JSON.parse(begin!.key.toString()).schema), JSON.stringify(schemas.key))
  t.equal(JSON.stringify(JSON.parse(begin!.value.toString()).schema), JSON.stringify(schemas.value))
})

/** The stream's messages with their transactions', without what our sources do not send: logical messages, signals. */
function recordedStream() {
  const lines = fixture('postgres-messages.jsonl')
    .trim()
    .split('\n')
    .map((line) => tokens(line) as RecordedMessage)
  const own = lines.filter(
    ({ topic, value }) => topic === 's.transaction' || (topic.startsWith('s.public.') && value !== null),
  )
  const sent = new Set(
    own.flatMap(({ topic, value }) => (topic === 's.transaction' ? [] : [txnOf(value!.source.txId)])),
  )
  return own.filter(
    ({ topic, value }) =>
      topic !== 's.transaction' || sent.has(String((value as unknown as { id: string }).id.split(':')[0])),
  )
}

function txnOf(token: string | null | undefined): string {
  return (token ?? '').replace('number ', '')
}
