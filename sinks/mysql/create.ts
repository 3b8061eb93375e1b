/** Statements that make a target. Targets carry only the key (5.3). */
import { randomBytes } from 'node:crypto'
import { TidemarkError } from '../../core/errors.js'
import type { Column, TableSchema } from '../../core/model.js'
import { quoteMysqlName as quoteName, quoteMysqlText as quoteText } from '../../drivers/mysql.js'
import { markComment, type TargetName } from './catalog.js'
import type { Problem } from './judge.js'
import type { TargetServer } from './server.js'
import { isBinary, isText, rowBytes, typeSql, type WantedType, wantedType } from './types.js'

/** The server's own limit for the columns of a row that are not TEXT or BLOB, less what it needs besides. */
const ROW_BYTES_MAX = 65_000
const BYTES_PER_CHAR = 4
const MARK_BYTES = 8

/** What each column is created as. */
export function plannedTypes(schema: TableSchema, server: TargetServer): WantedType[] {
  const types = schema.columns.map(({ type }) => wantedType(type, schema, server))
  shortenKeys(types, schema.key, server)
  moveOutOfRow(types, schema.key)
  return types
}

/** Texts and bytes without a length of their own share what an index can hold; longer values are refused. */
function shortenKeys(types: WantedType[], key: readonly number[], server: TargetServer): void {
  const columnBytes = server.keyColumnBytes
  const endless = key.filter((i) => {
    const { base, length } = types[i]!
    return (isText(base) || isBinary(base)) && (length === null || rowBytes(types[i]!) > columnBytes)
  })
  const others = key.filter((i) => !endless.includes(i)).reduce((sum, i) => sum + rowBytes(types[i]!), 0)
  const share = Math.min(columnBytes, Math.floor((server.keyBytes - others) / Math.max(1, endless.length)))
  for (const i of endless) {
    const type = types[i]!
    types[i] = isText(type.base)
      ? { ...type, base: 'varchar', length: Math.floor(share / BYTES_PER_CHAR) }
      : { ...type, base: 'varbinary', length: share }
  }
}

function moveOutOfRow(types: WantedType[], key: readonly number[]): void {
  for (;;) {
    const sizes = types.map((type, i) =>
      key.includes(i) || !(isText(type.base) || isBinary(type.base)) ? 0 : rowBytes(type),
    )
    const largest = Math.max(0, ...sizes)
    if (types.reduce((sum, type) => sum + rowBytes(type), 0) <= ROW_BYTES_MAX || largest <= BYTES_PER_CHAR * 4) return
    const at = sizes.indexOf(largest)
    const type = types[at]!
    types[at] = { ...type, base: isText(type.base) ? 'longtext' : 'longblob', length: null }
  }
}

/** One column as CREATE TABLE and ALTER TABLE take it. `filled`: what older rows show; undefined: nothing is known. */
export function columnSql(column: Column, type: WantedType, isKey: boolean, server: TargetServer): string {
  const sql = `${quoteName(column.name)} ${typeSql(type, server.collation)}`
  // Without a default of its own the first TIMESTAMP takes the time of every update.
  if (isKey) return type.base === 'timestamp' ? `${sql} NOT NULL DEFAULT '1970-01-02 00:00:00'` : `${sql} NOT NULL`
  if (column.filled == null) return `${sql} NULL DEFAULT NULL`
  const value = quoteText(column.filled)
  return `${sql} NULL DEFAULT ${/text$|blob$/.test(type.base) ? `(${value})` : value}`
}

/** Each statement on its own, and each may run again: DDL commits whatever is open. */
export function creationStatements(schema: TableSchema, { database, sql }: TargetName, server: TargetServer): string[] {
  const types = plannedTypes(schema, server)
  const lines = schema.columns.map((column, i) =>
    columnSql({ ...column, filled: null }, types[i]!, schema.key.includes(i), server),
  )
  if (schema.key.length > 0) {
    lines.push(`PRIMARY KEY (${schema.key.map((i) => quoteName(schema.columns[i]!.name)).join(', ')})`)
  }
  const mark = markComment(randomBytes(MARK_BYTES).toString('hex'))
  return [
    `CREATE DATABASE IF NOT EXISTS ${quoteName(database)} CHARACTER SET utf8mb4 COLLATE ${server.collation}`,
    `CREATE TABLE IF NOT EXISTS ${sql} (${lines.join(', ')}) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE ${server.collation} COMMENT = '${mark}'`,
  ]
}

export function problemError({ code, message, fix }: Problem): TidemarkError {
  return new TidemarkError(code, { message, fix, at: 'sink' })
}
