/** The simulated tables as the core sees them: schemas by width, rows, and log messages as changes. */
import { type Cut, positionCut, xidCut } from '../../core/cut.js'
import type { KeyOrder, KeyRange } from '../../core/key.js'
import type { Change, Row, TableSchema, TxnRef } from '../../core/model.js'
import type { LogItem } from '../../core/source.js'
import type { Server } from './server.js'
import { type RowMessage, SECOND_TABLE, type Snapshot, type TableNumber } from './server-model.js'

/** Columns before those that were added: the key, the version, the value out of line. */
export const COLUMNS = 3
const TABLES = ['t', 'u'] as const

const column = (name: string) =>
  ({
    name,
    type: {
      kind: 'int64',
      native: 'bigint',
      base: 'int8',
      precision: null,
      scale: null,
      length: null,
      element: null,
      labels: null,
      domain: null,
    },
    nullable: true,
    generated: false,
    defaultValue: null,
  }) as const

const known = new Map<string, TableSchema>()

/** One object for each definition, as a connection keeps it. */
export function schemaOf(table: TableNumber, width: number, keyless: boolean): TableSchema {
  const fingerprint = `${TABLES[table]} ${width} ${keyless}`
  let schema = known.get(fingerprint)
  if (schema === undefined) {
    const added = Array.from({ length: width }, (_, i) => `added${i}`)
    schema = {
      id: `public.${TABLES[table]}`,
      database: 'sim',
      namespace: 'public',
      name: TABLES[table],
      dialect: 'postgres',
      columns: ['id', 'v', 't', ...added].map(column),
      key: keyless ? [] : [0],
      fingerprint,
    } as unknown as TableSchema
    known.set(fingerprint, schema)
  }
  return schema
}

export function tableNumber(schema: TableSchema): TableNumber {
  return schema.name === TABLES[1] ? 1 : 0
}

export function widthOf(schema: TableSchema): number {
  return schema.columns.length - COLUMNS
}

export const numeric: KeyOrder = { located: false, compare: (a, b) => Number(a[0]) - Number(b[0]) }

export function inRange(k: number, { lo, hi }: KeyRange): boolean {
  if (lo !== null && (lo.side === 'before' ? k < Number(lo.key[0]) : k <= Number(lo.key[0]))) return false
  return hi === null || (hi.side === 'before' ? k < Number(hi.key[0]) : k <= Number(hi.key[0]))
}

/** Good split points of a table; not every one is a key that exists. */
export function hints(table: TableNumber): number[] {
  return [2, 4, 6, 8].map((k) => k + table * SECOND_TABLE)
}

/** What the added columns of a version hold: a version written before them holds nothing there. */
export function addedValue(server: Server, v: number, i: number): string | null {
  return i < server.widthOf.get(v)! ? `${v * 10 + i}` : null
}

/** `t` undefined: not sent. */
export function rowOf(server: Server, width: number, k: number, v: number, t: number | undefined): Row {
  const added = Array.from({ length: width }, (_, i) => addedValue(server, v, i))
  return [`${k}`, `${v}`, t === undefined ? undefined : `${t}`, ...added]
}

export function itemsOf(server: Server, messages: readonly RowMessage[], txn: TxnRef, shape: Shape): LogItem[] {
  return messages.map((m): LogItem => {
    const schema = schemaOf(m.table, m.width, shape.keyless)
    if (m.op === 't') return { kind: 'truncate', txn, schemas: [schema], at: 0 }
    return { kind: 'rows', txn, schema, changes: [changeOf(server, m, shape.keyless)], bytes: shape.rowBytes }
  })
}

export interface Shape {
  readonly keyless: boolean
  readonly rowBytes: number
}

/** `at` names the version that the change removes; the core carries it and never looks at it. */
function changeOf(server: Server, m: Exclude<RowMessage, { op: 't' }>, whole: boolean): Change {
  const at = m.old?.v ?? 0
  const row = (k: number, v: number, t: number | undefined) => rowOf(server, m.width, k, v, t)
  const keyOnly = (k: number): Row => row(k, m.v, undefined).map((value, i) => (i === 0 ? value : undefined))
  const old = (k: number) => (whole ? row(k, m.old!.v, m.old!.t) : keyOnly(k))
  switch (m.op) {
    case 'c':
      return { op: 'c', before: null, after: row(m.k, m.v, m.t), at }
    case 'u':
      return { op: 'u', before: whole ? old(m.k) : null, after: row(m.k, m.v, whole ? m.t : undefined), at }
    case 'd':
      return { op: 'd', before: old(m.k), after: null, at }
    case 'm':
      return { op: 'u', before: old(m.from), after: row(m.k, m.v, m.unsent ? undefined : m.t), at }
  }
}

/** Engines without exact cuts name what they show for certain. */
export function cutOf(s: Snapshot, windows: boolean): Cut {
  if (windows) return positionCut(BigInt(s.low))
  return xidCut({ xmin: BigInt(s.xmin), xmax: BigInt(s.xmax), xip: s.xip.map(BigInt) }, BigInt(s.after))
}
