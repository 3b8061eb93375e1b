/**
 * How the rows behind a table map are decoded. The catalog's schema is used while the map fits it, so that rows and changes of
 * one definition share a fingerprint. A map that does not fit was written under another definition: where the server sends
 * full metadata the map itself says which.
 */
import type { Column, TableSchema } from '../../core/model.js'
import { type CatalogTable, makeMysqlSchema } from './catalog.js'
import { isLoaded, textReader } from './charsets.js'
import { GEOMETRY_TYPES, type MysqlColumnType, mysqlColumnType } from './column-types.js'
import { type Decoder, decoderOf, STORED } from './row-values.js'
import type { ServerFacts } from './server.js'
import type { MappedColumn, TableMap } from './table-map.js'

export interface DecodePlan {
  readonly schema: TableSchema
  readonly decoders: readonly Decoder[]
  readonly absent: CatalogTable['absent']
  /** MariaDB's system versioning: the place of the column that ends a row, which the schema may not have; null: none. */
  readonly rowEnd: number | null
}

export function planOf(table: CatalogTable, map: TableMap, server: ServerFacts): DecodePlan {
  const { schema, types, absent } = table
  return {
    schema,
    absent,
    rowEnd: rowEndOf(table, map),
    decoders: map.columns.map((column, i) =>
      decoderOf(column.stored, column.meta, types[i] ?? typeOfMapped(column, server)),
    ),
  }
}

/** Columns that a versioned table without any of its own for it has behind the others, and the catalog has not: row_start, row_end. */
const HIDDEN_PERIOD = 2

function hiddenColumns({ schema, versioned }: CatalogTable, map: TableMap): number {
  const more = map.columns.length - schema.columns.length
  return versioned && more === HIDDEN_PERIOD ? more : 0
}

function rowEndOf(table: CatalogTable, map: TableMap): number | null {
  if (!table.versioned) return null
  if (hiddenColumns(table, map) > 0) return map.columns.length - 1
  const named = table.schema.columns.findIndex(({ name }) => name.toLowerCase() === 'row_end')
  return named < 0 ? null : named
}

/** Storage types of each column type. */
const STORED_AS: Readonly<Record<string, readonly number[]>> = {
  tinyint: [STORED.tiny],
  smallint: [STORED.short],
  mediumint: [STORED.int24],
  int: [STORED.long],
  bigint: [STORED.longlong],
  year: [STORED.year],
  decimal: [STORED.newdecimal],
  float: [STORED.float],
  double: [STORED.double],
  bit: [STORED.bit],
  char: [STORED.string],
  varchar: [STORED.varchar, STORED.varString, STORED.varcharCompressed],
  binary: [STORED.string],
  varbinary: [STORED.varchar, STORED.varString, STORED.varcharCompressed],
  date: [STORED.date, STORED.newdate],
  time: [STORED.time2, STORED.time],
  datetime: [STORED.datetime2, STORED.datetime],
  timestamp: [STORED.timestamp2, STORED.timestamp],
  enum: [STORED.string],
  set: [STORED.string],
  json: [STORED.json],
  vector: [STORED.vector, STORED.varchar, STORED.varString],
  uuid: [STORED.string],
  inet4: [STORED.string],
  inet6: [STORED.string],
}
const BLOBS = [STORED.blob, STORED.blobCompressed]

export function fits(table: CatalogTable, map: TableMap, server: ServerFacts): boolean {
  const { schema, types } = table
  return (
    schema.columns.length === map.columns.length - hiddenColumns(table, map) &&
    schema.columns.every((column, i) => fitsColumn(map.columns[i]!, column, types[i]!, server))
  )
}

function fitsColumn(mapped: MappedColumn, { name }: Column, column: MysqlColumnType, server: ServerFacts): boolean {
  const { type, unsigned, charset } = column
  const { base } = type
  if (mapped.name !== null && mapped.name !== name) return false
  const wanted = GEOMETRY_TYPES.has(base) ? [STORED.geometry] : (STORED_AS[base] ?? BLOBS)
  if (!wanted.includes(mapped.stored as never)) return false
  if (mapped.unsigned !== null && /int$|decimal|float|double/.test(base) && mapped.unsigned !== unsigned) return false
  const labels = labelsOf(mapped, server)
  if (labels !== null && (base === 'enum' || base === 'set') && labels.join('\0') !== type.labels?.join('\0'))
    return false
  if (mapped.collationId !== null && type.kind !== 'other' && charset !== null) {
    const now = server.collations.get(mapped.collationId)?.charset
    if (now !== undefined && now !== charset) return false
  }
  return fitsMeta(mapped, column)
}

function labelsOf({ labels, collationId }: MappedColumn, { collations }: ServerFacts): string[] | null {
  if (labels === null) return null
  const charset = charsetOf(collationId, collations)
  if (charset !== null && !isLoaded(charset)) return []
  const read = textReader(charset ?? 'utf8mb4')
  return labels.map((label) => read(label, 0, label.length))
}

function charsetOf(id: number | null, collations: ServerFacts['collations']): string | null {
  const charset = id === null ? undefined : collations.get(id)?.charset
  return charset === undefined || charset === 'binary' ? null : charset
}

/** Character sets that decoding the map's rows and labels may need. */
export function charsetsOf({ columns }: TableMap, { collations }: ServerFacts): string[] {
  return columns.flatMap(({ collationId }) => charsetOf(collationId, collations) ?? [])
}

function fitsMeta({ stored, meta }: MappedColumn, { type }: MysqlColumnType): boolean {
  switch (stored) {
    case STORED.newdecimal:
      return meta >> 8 === type.precision && (meta & 0xff) === type.scale
    case STORED.datetime2:
    case STORED.timestamp2:
    case STORED.time2:
      return meta === (type.precision ?? 0)
    case STORED.bit:
      return (meta >> 8) * 8 + (meta & 0xff) === type.length
    case STORED.string: {
      const real = meta >> 8
      return (real === STORED.enum) === (type.base === 'enum') && (real === STORED.set) === (type.base === 'set')
    }
    default:
      return true
  }
}

/** True when the map says everything that a schema needs. */
export function describesItself(map: TableMap): boolean {
  return map.columns.every(({ name }) => name !== null)
}

/** The table as a self-describing map shows it; columns that are as the catalog has them keep its types. */
export function tableOfMap(map: TableMap, known: CatalogTable, server: ServerFacts): CatalogTable {
  const before = new Map(known.schema.columns.map((column, i) => [column.name, i]))
  const columns: Column[] = []
  const types: MysqlColumnType[] = []
  for (const mapped of map.columns) {
    const at = before.get(mapped.name!)
    const same = at !== undefined && fitsColumn(mapped, known.schema.columns[at]!, known.types[at]!, server)
    const type = same ? known.types[at]! : typeOfMapped(mapped, server)
    types.push(type)
    columns.push(
      same
        ? known.schema.columns[at]!
        : { name: mapped.name!, type: type.type, nullable: mapped.nullable, generated: false, defaultValue: null },
    )
  }
  const key = map.key ?? known.schema.key.map((i) => columns.findIndex((c) => c.name === known.schema.columns[i]!.name))
  const schema = makeMysqlSchema(
    known.schema.namespace,
    known.schema.name,
    columns,
    key.filter((i) => i >= 0),
  )
  const filled = columns.map(({ name }) => {
    const at = before.get(name)
    return at === undefined ? undefined : known.filled[at]
  })
  return { ...known, schema, types, filled, absent: columns.map(() => undefined) }
}

const INTEGERS: Readonly<Record<number, string>> = {
  [STORED.tiny]: 'tinyint',
  [STORED.short]: 'smallint',
  [STORED.int24]: 'mediumint',
  [STORED.long]: 'int',
  [STORED.longlong]: 'bigint',
  [STORED.float]: 'float',
  [STORED.double]: 'double',
}
const MOMENTS: Readonly<Record<number, string>> = {
  [STORED.date]: 'date',
  [STORED.newdate]: 'date',
  [STORED.time]: 'time',
  [STORED.time2]: 'time',
  [STORED.datetime]: 'datetime',
  [STORED.datetime2]: 'datetime',
  [STORED.timestamp]: 'timestamp',
  [STORED.timestamp2]: 'timestamp',
}
const BLOB_SIZES = ['', 'tiny', '', 'medium', 'long']
const GEOMETRY_NAMES = [
  'geometry',
  'point',
  'linestring',
  'polygon',
  'multipoint',
  'multilinestring',
  'multipolygon',
  'geomcollection',
]
const BINARY_COLLATION = 63

function typeOfMapped(mapped: MappedColumn, server: ServerFacts): MysqlColumnType {
  const { stored, meta, unsigned, collationId } = mapped
  const { collations } = server
  const collation = collationId === null ? null : (collations.get(collationId) ?? null)
  const binary = collationId === BINARY_COLLATION
  const blank = {
    charset: binary ? null : (collation?.charset ?? null),
    collation: binary ? null : (collation?.name ?? null),
    precision: null,
    scale: null,
    fraction: null,
    length: null,
  }
  const sign = unsigned ? ' unsigned' : ''
  const integer = INTEGERS[stored]
  if (integer !== undefined) return mysqlColumnType({ ...blank, dataType: integer, columnType: integer + sign })
  const moment = MOMENTS[stored]
  if (moment !== undefined) {
    return mysqlColumnType({
      ...blank,
      dataType: moment,
      columnType: meta > 0 ? `${moment}(${meta})` : moment,
      fraction: moment === 'date' ? null : meta,
    })
  }
  switch (stored) {
    case STORED.newdecimal: {
      const [precision, scale] = [meta >> 8, meta & 0xff]
      return mysqlColumnType({
        ...blank,
        dataType: 'decimal',
        columnType: `decimal(${precision},${scale})${sign}`,
        precision,
        scale,
      })
    }
    case STORED.year:
      return mysqlColumnType({ ...blank, dataType: 'year', columnType: 'year' })
    case STORED.bit: {
      const precision = (meta >> 8) * 8 + (meta & 0xff)
      return mysqlColumnType({ ...blank, dataType: 'bit', columnType: `bit(${precision})`, precision })
    }
    case STORED.json:
      return mysqlColumnType({ ...blank, dataType: 'json', columnType: 'json' })
    case STORED.vector:
      return mysqlColumnType({ ...blank, dataType: 'vector', columnType: 'vector' })
    case STORED.geometry: {
      const name = GEOMETRY_NAMES[mapped.geometry ?? 0] ?? 'geometry'
      return mysqlColumnType({ ...blank, dataType: name, columnType: name })
    }
    case STORED.blob:
    case STORED.blobCompressed: {
      const name = (BLOB_SIZES[meta] ?? '') + (binary ? 'blob' : 'text')
      return mysqlColumnType({
        ...blank,
        dataType: name,
        columnType: name + (stored === STORED.blobCompressed ? ' compressed' : ''),
      })
    }
    case STORED.string: {
      const real = meta >> 8
      if (real === STORED.enum || real === STORED.set) {
        const name = real === STORED.enum ? 'enum' : 'set'
        const list = (labelsOf(mapped, server) ?? []).map((label) => `'${label.replaceAll("'", "''")}'`).join(',')
        return mysqlColumnType({ ...blank, dataType: name, columnType: `${name}(${list})` })
      }
      const bytes = (real & 0x30) === 0x30 ? meta & 0xff : (meta & 0xff) | (((real & 0x30) ^ 0x30) << 4)
      const name = binary ? 'binary' : 'char'
      return mysqlColumnType({ ...blank, dataType: name, columnType: `${name}(${bytes})`, length: bytes })
    }
    default: {
      const name = binary ? 'varbinary' : 'varchar'
      return mysqlColumnType({ ...blank, dataType: name, columnType: `${name}(${meta})`, length: meta })
    }
  }
}
