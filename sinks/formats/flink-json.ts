/**
 * debezium-json and canal-json as Flink CDC's Kafka sink writes them (its JsonSerializationSchema classes): values of
 * their JSON types, whole old rows, no times.
 */
import type { Change, ColumnType, TableSchema } from '../../core/model.js'
import type { LineEncoder } from './format.js'
import { append, appendRow } from './parts.js'
import { plainRows, wholeRow } from './plain-rows.js'
import { flinkStyle, styledCodecs } from './text-codecs.js'

/** What a row needs behind it before the next append reserves for itself. */
const SLACK = 8
const TYPES = { r: 'INSERT', c: 'INSERT', u: 'UPDATE', d: 'DELETE' } as const

export function flinkCodecs(schema: TableSchema) {
  return styledCodecs(schema, flinkStyle)
}

/** Flink's flavour: `old`, `data`, `type`, `database`, `table`, `pkNames`. */
export function flinkCanalEncoder(schema: TableSchema): LineEncoder {
  const text = JSON.stringify
  const tail = (op: Change['op']) =>
    `}],"type":"${TYPES[op]}","database":${text(schema.namespace)},"table":${text(schema.name)},"pkNames":${text(schema.key.map((i) => schema.columns[i]!.name))}}`
  return flinkEncoder(schema, 'canal-json', {
    opening: '{"old":',
    old: ['[{', '}],"data":[{'],
    noOld: 'null,"data":[{',
    deleted: 'null,"data":[{',
    tail,
    truncated: `{"old":null,"data":null,"type":"TRUNCATE","database":${text(schema.namespace)},"table":${text(schema.name)},"pkNames":[]}`,
  })
}

/** Flink's flavour of debezium-json: no times, and `source` names only the table. Snapshot rows are inserts. */
export function flinkDebeziumEncoder(schema: TableSchema, wrap: { opening: string; closing: string }): LineEncoder {
  const text = JSON.stringify
  const source = `"source":{"db":${text(schema.namespace)},"table":${text(schema.name)}}}`
  const tail = (op: Change['op']) =>
    `}${op === 'd' ? ',"after":null' : ''},"op":"${op === 'r' ? 'c' : op}",${source}${wrap.closing}`
  return flinkEncoder(schema, 'debezium-json of flavor flink', {
    opening: `${wrap.opening}{"before":`,
    old: ['{', '},"after":{'],
    noOld: 'null,"after":{',
    deleted: '{',
    tail,
    truncated: `${wrap.opening}{"before":null,"after":null,"op":"t",${source}${wrap.closing}`,
  })
}

interface FlinkShape {
  readonly opening: string
  /** Around the old row of an update. */
  readonly old: readonly [string, string]
  readonly noOld: string
  readonly deleted: string
  readonly tail: (op: Change['op']) => string
  readonly truncated: string
}

function flinkEncoder(schema: TableSchema, format: string, shape: FlinkShape): LineEncoder {
  const { rows } = plainRows(schema, flinkCodecs(schema), SLACK)
  const bytes = (part: string) => Buffer.from(part)
  const plain = bytes(shape.opening + shape.noOld)
  const deleted = bytes(shape.opening + shape.deleted)
  const [openOld, closeOld] = [bytes(shape.opening + shape.old[0]), bytes(shape.old[1])]
  const tails = new Map((['r', 'c', 'u', 'd'] as const).map((op) => [op, bytes(shape.tail(op))]))
  const truncated = bytes(shape.truncated)
  return {
    begin() {},
    gather(gathered, change) {
      const row = wholeRow(schema, change, format)
      return rows.gather(
        change.op === 'u' && change.before !== null ? rows.gather(gathered, change.before) : gathered,
        row,
      )
    },
    line(writer, { op, before, after }) {
      if (op === 'u' && before !== null) {
        append(writer, openOld)
        appendRow(writer, rows, before)
        append(writer, closeOld)
      } else append(writer, op === 'd' ? deleted : plain)
      appendRow(writer, rows, op === 'd' ? before! : after!)
      append(writer, tails.get(op)!)
    },
    packed(writer, values, base) {
      append(writer, plain)
      writer.length = rows.packed(writer, writer.length, values, base)
      append(writer, tails.get('r')!)
    },
    truncate: (writer) => append(writer, truncated),
  }
}

/** The schema that Flink's sink embeds: only the rows, each type by its nearest Debezium name. */
export function flinkSchemaJson(schema: TableSchema): string {
  const fields = schema.columns.map(({ name, type, nullable }) => {
    const [connect, semantic, parameters] = flinkConnectType(type)
    const named = semantic === undefined ? '' : `,"name":"${semantic}","version":1`
    const given = parameters === undefined ? '' : `,"parameters":${JSON.stringify(parameters)}`
    return `{"type":"${connect}","optional":${nullable}${named}${given},"field":${JSON.stringify(name)}}`
  })
  const row = (field: string) => `{"type":"struct","fields":[${fields}],"optional":true,"field":"${field}"}`
  return `{"type":"struct","fields":[${row('before')},${row('after')}],"optional":false}`
}

type FlinkConnectType = readonly [type: string, name?: string, parameters?: Readonly<Record<string, string>>]

function flinkConnectType({ kind, precision, scale, length }: ColumnType): FlinkConnectType {
  switch (kind) {
    case 'bool':
      return ['boolean']
    case 'int16':
    case 'int32':
    case 'int64':
      return [kind]
    case 'float32':
      return ['float']
    case 'float64':
      return ['double']
    case 'decimal':
      return precision === null
        ? ['string']
        : [
            'bytes',
            'org.apache.kafka.connect.data.Decimal',
            { scale: String(scale ?? 0), 'connect.decimal.precision': String(precision) },
          ]
    case 'date':
      return ['int32', 'io.debezium.time.Date']
    case 'time':
      return ['int64', 'io.debezium.time.MicroTime']
    case 'timestamp':
      return ['int64', (precision ?? 6) > 3 ? 'io.debezium.time.MicroTimestamp' : 'io.debezium.time.Timestamp']
    case 'timestamptz':
      return ['string', 'io.debezium.time.ZonedTimestamp']
    case 'bytes':
      return ['bytes', 'io.debezium.data.Bits', { length: String(length ?? 0) }]
    default:
      return ['string']
  }
}
