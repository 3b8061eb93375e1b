/** canal-json as Alibaba's Canal writes its FlatMessage: fields in the order of their names, every value text or null. */
import type { Change, TableSchema } from '../../core/model.js'
import { floorMs } from './calendar.js'
import { gtidText } from './debezium-mysql-source.js'
import type { LineEncoder } from './format.js'
import { jdbcType, mysqlJdbcType } from './jdbc-types.js'
import { append, appendRow, appendSome } from './parts.js'
import { changedValues, plainRows, wholeRow } from './plain-rows.js'
import { canalMysqlStyle, canalStyle, styledCodecs } from './text-codecs.js'

/** What a row needs behind it before the next append reserves for itself. */
const SLACK = 8
const TYPES = { r: 'INSERT', c: 'INSERT', u: 'UPDATE', d: 'DELETE' } as const

export function canalCodecs(schema: TableSchema) {
  return styledCodecs(schema, schema.dialect === 'mysql' ? canalMysqlStyle : canalStyle)
}

export function canalEncoder(schema: TableSchema): LineEncoder {
  const { rows, changed } = plainRows(schema, canalCodecs(schema), SLACK)
  const text = JSON.stringify
  const named = (value: (column: TableSchema['columns'][number]) => unknown): string =>
    text(Object.fromEntries(schema.columns.map((column) => [column.name, value(column)])))
  const types = {
    mysql: named(({ type }) => type.native),
    sql: named(({ type }) => (schema.dialect === 'mysql' ? mysqlJdbcType(type) : jdbcType(type.kind))),
  }
  const keys = schema.key.length === 0 ? 'null' : text(schema.key.map((i) => schema.columns[i]!.name))
  const open = Buffer.from('{"data":[{')
  const openOld = Buffer.from('[')
  const closeOld = Buffer.from(']')
  const none = Buffer.from('null')
  let middle = none
  let tails = new Map<Change['op'], Buffer>()
  let truncated = none

  const finish = (writer: Parameters<LineEncoder['line']>[0], change: Change | null): void => {
    append(writer, middle)
    if (change?.op === 'u') {
      append(writer, openOld)
      appendSome(writer, changed, changedValues(change) ?? [])
      append(writer, closeOld)
    } else append(writer, none)
    append(writer, tails.get(change?.op ?? 'r')!)
  }
  return {
    begin(origin, nowMs) {
      const es = floorMs(origin.kind === 'log' ? origin.txn.tsUs : origin.tsUs)
      const gtid = origin.kind === 'log' ? (gtidText(origin.txn) ?? '') : ''
      const named = schema.dialect === 'mysql' ? `"gtid":${text(gtid)},` : ''
      const head = (ddl: boolean) => `"database":${text(schema.namespace)},"es":${es},${named}"id":0,"isDdl":${ddl},`
      const tail = (type: string, sql: string, sqlType: string) =>
        `,"pkNames":${keys},"sql":${text(sql)},"sqlType":${sqlType},"table":${text(schema.name)},"ts":${Math.floor(nowMs)},"type":"${type}"}`
      middle = Buffer.from(`}],${head(false)}"mysqlType":${types.mysql},"old":`)
      tails = new Map((['r', 'c', 'u', 'd'] as const).map((op) => [op, Buffer.from(tail(TYPES[op], '', types.sql))]))
      const sql = `TRUNCATE TABLE ${schema.dialect === 'mysql' ? `\`${schema.name.replaceAll('`', '``')}\`` : schema.id}`
      truncated = Buffer.from(`{"data":null,${head(true)}"mysqlType":null,"old":null${tail('TRUNCATE', sql, 'null')}`)
    },
    gather(gathered, change) {
      const head = rows.gather(gathered, wholeRow(schema, change, 'canal-json'))
      const old = changedValues(change)
      return old === null ? head : changed.gather(head, old)
    },
    line(writer, change) {
      append(writer, open)
      appendRow(writer, rows, change.op === 'd' ? change.before! : change.after!)
      finish(writer, change)
    },
    packed(writer, values, base) {
      append(writer, open)
      writer.length = rows.packed(writer, writer.length, values, base)
      finish(writer, null)
    },
    truncate: (writer) => append(writer, truncated),
  }
}
