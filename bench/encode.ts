/**
 * How fast one thread turns rows into bytes: the ten-column table of the other benchmarks, rows as arrays of text in
 * batches, each batch encoded into a reused buffer.
 *
 *   node --import=tsx bench/encode.ts [rows] [rounds] [format|messages]
 *
 * `messages` encodes the same rows with keys and headers, as sinks that carry messages do.
 */
import type { Change, ChangeBatch, ColumnType, Origin, Row, TableSchema, TypeKind } from '../core/model.js'
import { tableId } from '../core/model.js'
import { createFormat, FORMAT_NAMES } from '../sinks/formats/format.js'
import { defaultMessageOptions, isRegistered, MESSAGE_FORMAT_NAMES } from '../sinks/formats/message-options.js'
import { createMessageFormat } from '../sinks/formats/messages.js'

const BATCH_ROWS = 1_000
const WORDS =
  'lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore magna aliqua'.split(
    ' ',
  )

const COLUMNS: readonly (readonly [string, TypeKind, string, number | null, number | null])[] = [
  ['id', 'int64', 'int8', null, null],
  ['a', 'int32', 'int4', null, null],
  ['b', 'int16', 'int2', null, null],
  ['name', 'string', 'varchar', null, null],
  ['body', 'string', 'text', null, null],
  ['price', 'decimal', 'numeric', 18, 4],
  ['score', 'float64', 'float8', null, null],
  ['created', 'timestamp', 'timestamp', 6, null],
  ['day', 'date', 'date', null, null],
  ['flag', 'int16', 'int2', null, null],
]

function schema(): TableSchema {
  const type = (kind: TypeKind, base: string, precision: number | null, scale: number | null): ColumnType => ({
    kind,
    native: base,
    base,
    precision,
    scale,
    length: null,
    element: null,
    labels: null,
    domain: null,
  })
  return {
    id: tableId('public', 't'),
    database: 'bench',
    namespace: 'public',
    name: 't',
    dialect: 'postgres',
    columns: COLUMNS.map(([name, kind, base, precision, scale]) => ({
      name,
      type: type(kind, base, precision, scale),
      nullable: name !== 'id',
      generated: false,
      defaultValue: null,
    })),
    key: [0],
    fingerprint: 'bench',
  }
}

/** The line is split the way the COPY reader does it, so that values are slices of one large string. */
function makeRows(count: number): Row[] {
  let seed = 42
  const random = () => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff
    return seed / 0x7fffffff
  }
  const lines: string[] = []
  for (let id = 1; id <= count; id++) {
    const iso = new Date(1.6e12 + id * 1013).toISOString()
    const created = iso.replace('T', ' ').replace('Z', '') + String(id % 1000).padStart(3, '0')
    const body = Array.from({ length: 12 }, () => WORDS[Math.floor(random() * WORDS.length)]).join(' ')
    const integer = (span: number) => Math.floor(random() * span) - span / 2
    lines.push(
      [
        id,
        integer(2e9),
        integer(60_000),
        `user-${Math.floor(random() * 1e9).toString(36)}@example.com`,
        body,
        ((random() * 2e13 - 1e13) / 1e4).toFixed(4),
        random() * 1e6,
        created,
        iso.slice(0, 10),
        id & 1,
      ].join('\t'),
    )
  }
  const text = Buffer.from(lines.join('\n')).toString('latin1')
  return text.split('\n').map((line) => line.split('\t'))
}

function batches(rows: readonly Row[], op: 'r' | 'c'): ChangeBatch[] {
  const table = schema()
  const at = 987_654_321
  const origin: Origin =
    op === 'r'
      ? { kind: 'snapshot', tsUs: 1_795_415_073_092_123n, at: BigInt(at), xid: 1234n }
      : {
          kind: 'log',
          txn: { ordinal: BigInt(at), previous: BigInt(at - 500), tsUs: 1_795_415_073_092_123n, xid: 1234n },
        }
  const out: ChangeBatch[] = []
  for (let from = 0; from < rows.length; from += BATCH_ROWS) {
    const changes = rows
      .slice(from, from + BATCH_ROWS)
      .map((after, i): Change => ({ op, before: null, after, at: op === 'r' ? at : at + (from + i) * 200 }))
    out.push({ kind: 'rows', schema: table, origin, changes, bytes: 0 })
  }
  return out
}

/** Encodes one batch and answers with the bytes it made. */
type Encode = (batch: ChangeBatch) => number

function encoders(only: string | undefined): [string, () => Encode][] {
  const lines = FORMAT_NAMES.map((name): [string, () => Encode] => [
    name,
    () => {
      const format = createFormat({ name, logicalName: 'bench' })
      return (batch) => format.encode(batch).bytes.length
    },
  ])
  if (only !== 'messages') return lines.filter(([name]) => only === undefined || name === only)
  // Those with a registry are measured by nobody yet.
  return MESSAGE_FORMAT_NAMES.filter((name) => !isRegistered(name)).map((name) => [
    name,
    () => {
      const format = createMessageFormat(defaultMessageOptions(name, 'bench'))
      return (batch) => {
        const { keys, values } = format.encode(batch)
        return keys.length + values.length
      }
    },
  ])
}

function main(): void {
  const count = Number(process.argv[2] ?? 200_000)
  const rounds = Number(process.argv[3] ?? 8)
  const rows = makeRows(count)
  for (const [name, make] of encoders(process.argv[4])) {
    for (const op of ['r', 'c'] as const) {
      const encode = make()
      const input = batches(rows, op)
      const rates: number[] = []
      let bytes = 0
      for (let round = 0; round < rounds; round++) {
        bytes = 0
        const start = performance.now()
        for (const batch of input) bytes += encode(batch)
        rates.push(count / ((performance.now() - start) / 1000))
      }
      rates.sort((a, b) => a - b)
      const median = rates[Math.floor(rounds / 2)]!
      const mb = bytes / count
      console.log(
        `${name.padEnd(14)} ${op === 'r' ? 'snapshot' : 'insert  '}  ${(median / 1e6).toFixed(2)} M rows/s (best ${(rates.at(-1)! / 1e6).toFixed(2)}), ${mb.toFixed(0)} bytes/event`,
      )
    }
  }
}

main()
