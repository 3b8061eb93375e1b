/** The tables of the recorded Debezium events (test/fixtures/debezium/fix_pg.sql) as the formats see them. */
import {
  type Change,
  type Column,
  type ColumnType,
  type Origin,
  type TableSchema,
  type TypeKind,
  tableId,
} from '../../core/model.js'

interface TypeOptions {
  readonly precision?: number
  readonly scale?: number
  readonly length?: number
  readonly element?: ColumnType
  readonly domain?: string
  readonly labels?: readonly string[]
}

export function columnType(kind: TypeKind, base: string, options: TypeOptions = {}): ColumnType {
  return {
    kind,
    native: base,
    base,
    precision: options.precision ?? null,
    scale: options.scale ?? null,
    length: options.length ?? null,
    element: options.element ?? null,
    labels: options.labels ?? null,
    domain: options.domain ?? null,
  }
}

export function column(name: string, type: ColumnType, options: Partial<Column> = {}): Column {
  return { name, type, nullable: true, generated: false, defaultValue: null, ...options }
}

let fingerprints = 0

export function table(name: string, columns: readonly Column[], options: Partial<TableSchema> = {}): TableSchema {
  return {
    id: tableId('public', name),
    database: 'fix',
    namespace: 'public',
    name,
    dialect: 'postgres',
    columns,
    key: [0],
    fingerprint: `${name}-${fingerprints++}`,
    ...options,
  }
}

const t = columnType
const list = (element: ColumnType) => t('array', `_${element.base}`, { element })

const MOOD = t('enum', 'mood', { labels: ['sad', 'ok', 'happy'] })

const TYPES: readonly (readonly [string, ColumnType])[] = [
  ['id', t('int32', 'int4')],
  ['c_smallint', t('int16', 'int2')],
  ['c_int', t('int32', 'int4')],
  ['c_bigint', t('int64', 'int8')],
  ['c_numeric', t('decimal', 'numeric')],
  ['c_numeric_18_4', t('decimal', 'numeric', { precision: 18, scale: 4 })],
  ['c_numeric_10_0', t('decimal', 'numeric', { precision: 10, scale: 0 })],
  ['c_real', t('float32', 'float4')],
  ['c_double', t('float64', 'float8')],
  ['c_bool', t('bool', 'bool')],
  ['c_text', t('string', 'text')],
  ['c_varchar', t('string', 'varchar', { length: 20 })],
  ['c_char', t('string', 'bpchar', { length: 5 })],
  ['c_bytea', t('bytes', 'bytea')],
  ['c_date', t('date', 'date')],
  ['c_time', t('time', 'time')],
  ['c_time3', t('time', 'time', { precision: 3 })],
  ['c_timetz', t('timetz', 'timetz')],
  ['c_timestamp', t('timestamp', 'timestamp')],
  ['c_timestamp3', t('timestamp', 'timestamp', { precision: 3 })],
  ['c_timestamptz', t('timestamptz', 'timestamptz')],
  ['c_interval', t('interval', 'interval')],
  ['c_uuid', t('uuid', 'uuid')],
  ['c_json', t('json', 'json')],
  ['c_jsonb', t('json', 'jsonb')],
  ['c_inet', t('other', 'inet')],
  ['c_cidr', t('other', 'cidr')],
  ['c_macaddr', t('other', 'macaddr')],
  ['c_int_arr', list(t('int32', 'int4'))],
  ['c_text_arr', list(t('string', 'text'))],
  ['c_num_arr', list(t('decimal', 'numeric', { precision: 8, scale: 2 }))],
  ['c_date_arr', list(t('date', 'date'))],
  ['c_enum', MOOD],
  ['c_enum_arr', list(MOOD)],
  ['c_money', t('money', 'money')],
  ['c_point', t('point', 'point')],
  ['c_box', t('other', 'box')],
  ['c_line', t('other', 'line')],
  ['c_hstore', t('hstore', 'hstore')],
  ['c_xml', t('xml', 'xml')],
  ['c_bit1', t('bits', 'bit', { length: 1 })],
  ['c_bit8', t('bits', 'bit', { length: 8 })],
  ['c_varbit', t('bits', 'varbit', { length: 10 })],
  ['c_tsvector', t('other', 'tsvector')],
  ['c_tsquery', t('other', 'tsquery')],
  ['c_int4range', t('other', 'int4range')],
  ['c_tsrange', t('other', 'tsrange')],
  ['c_numrange', t('other', 'numrange')],
  ['c_int4mrange', t('other', 'int4multirange')],
  ['c_oid', t('other', 'oid')],
  ['c_domain', t('int32', 'int4', { domain: 'public.posint' })],
  ['c_addr', t('other', 'addr')],
]

export function typesTable(name: string, options: { readonly generated: boolean }): TableSchema {
  return table(name, [
    ...TYPES.map(([label, type], i) => column(label, type, { nullable: i > 0 })),
    column('c_ltree_like', t('string', 'text'), { defaultValue: 'dflt' }),
    column('c_notnull_default', t('int32', 'int4'), { nullable: false, defaultValue: '7' }),
    ...(options.generated ? [column('c_gen', t('int32', 'int4'), { generated: true })] : []),
  ])
}

export function pairTable(withW = false): TableSchema {
  const columns = [
    column('a', t('int32', 'int4'), { nullable: false }),
    column('b', t('string', 'text'), { nullable: false }),
    column('v', t('string', 'text')),
  ]
  if (withW) columns.push(column('w', t('int32', 'int4'), { defaultValue: '5' }))
  return table('types_pk2', columns, { key: [0, 1] })
}

export function keylessTable(): TableSchema {
  return table('nopk', [column('a', t('int32', 'int4')), column('b', t('string', 'text'))], { key: [] })
}

export const SNAPSHOT: Origin = { kind: 'snapshot', tsUs: 1_795_418_211_076_038n, at: 538_792_136n, xid: 3087n }

export function logOrigin(previous: bigint): Origin {
  return { kind: 'log', txn: { ordinal: previous + 8n, previous, tsUs: 1_795_418_217_429_855n, xid: 3092n } }
}

export function change(
  op: Change['op'],
  before: Change['before'],
  after: Change['after'],
  at: number | bigint,
): Change {
  return { op, before, after, at }
}
