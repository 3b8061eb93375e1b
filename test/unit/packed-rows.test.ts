/** Rows that stay bytes: what sinks write of them is what they write of the same rows as values. */
import t from 'tap'
import { type CopyPiece, CopyRows, joined, lastRow, withoutLast } from '../../connectors/postgres/copy-rows.js'
import type { ChangeBatch, Row, TableSchema } from '../../core/model.js'
import { changeCount, packedChunk, renamedBatch, snapshotBatch, splitLast } from '../../core/packed-rows.js'
import { COPY_SLACK_BYTES, FRAME_BYTES } from '../../drivers/postgres-copy.js'
import { createFormat, FORMAT_NAMES } from '../../sinks/formats/format.js'
import { copyText } from '../../sinks/postgres/values.js'
import { column, columnType, SNAPSHOT, table } from '../support/format-tables.js'
import { random, testSeed } from '../support/seed.js'

const seed = testSeed()
t.comment(`TIDEMARK_SEED=${seed}`)
const { below, chance, pick } = random(seed)

const TEXTS = [
  '',
  'plain',
  'N',
  '\\N',
  '\\',
  'a\\',
  '\\\\N',
  '"',
  'tab\there',
  'line\nfeed',
  '\r\b\f\v',
  '\x01\x07\x0e\x1f\x7f',
  'ñandú',
  '日本語',
  '😀😀',
]
const POOLS = {
  int8: ['0', '-1', '9223372036854775807', '-9223372036854775808'],
  numeric: ['0.0000', '-12.5000', '99999999999999.9999', 'NaN'],
  float8: ['1.5', '-0', '1e+300', 'NaN', 'Infinity'],
  timestamp: ['2024-02-29 10:34:56', '1969-12-31 23:59:59.999999', 'infinity', '0044-03-15 12:00:00 BC'],
  timestamptz: ['2024-02-29 10:34:56.123456+00', '2024-02-29 10:34:56+05:30', '-infinity'],
  date: ['2024-02-29', '1969-07-20', '0044-03-15 BC', 'infinity'],
  bool: ['t', 'f'],
  bytea: ['\\x', '\\x00ff5c'],
  array: ['{}', '{a,NULL,"b\\\\c","t\tab"}'],
  json: ['{"a": "\\\\n"}', 'null'],
}
const SCHEMA = table('packed', [
  column('id', columnType('int64', 'int8')),
  column('short', columnType('string', 'text')),
  column('price', columnType('decimal', 'numeric', { precision: 18, scale: 4 })),
  column('score', columnType('float64', 'float8')),
  column('at', columnType('timestamp', 'timestamp', { precision: 6 })),
  column('zoned', columnType('timestamptz', 'timestamptz', { precision: 6 })),
  column('day', columnType('date', 'date')),
  column('yes', columnType('bool', 'bool')),
  column('raw', columnType('bytes', 'bytea')),
  column('list', columnType('array', '_text', { element: columnType('string', 'text') })),
  column('doc', columnType('json', 'jsonb')),
  column('long "name"', columnType('string', 'text')),
])

function text(): string {
  const parts = Array.from({ length: below(6) }, () => pick(TEXTS))
  if (chance(0.02)) parts.push(pick(['x', 'ß', '"', '\t', '\\']).repeat(below(70_000)))
  return parts.join(chance(0.5) ? '' : 'abcdefg')
}

function randomRow(): Row {
  const { int8, numeric, float8, timestamp, timestamptz, date, bool, bytea, array, json } = POOLS
  const values = [int8, [text()], numeric, float8, timestamp, timestamptz, date, bool, bytea, array, json, [text()]]
  return values.map((pool, i) => (i > 0 && chance(0.15) ? null : pick(pool)))
}

const LETTERS: Readonly<Record<string, string>> = {
  '\b': 'b',
  '\f': 'f',
  '\n': 'n',
  '\r': 'r',
  '\t': 't',
  '\v': 'v',
  '\\': '\\',
}

/** As the server writes a line of COPY, in a message of its own. */
function message(row: Row): Buffer {
  const field = (value: unknown) =>
    value === null ? '\\N' : String(value).replace(/[\b\f\n\r\t\v\\]/g, (c) => `\\${LETTERS[c]}`)
  const line = Buffer.from(`${row.map(field).join('\t')}\n`)
  const frame = Buffer.alloc(FRAME_BYTES)
  frame.write('d')
  frame.writeUInt32BE(line.length + 4, 1)
  return Buffer.concat([frame, line])
}

/** At some place in a larger memory, with other bytes around it. */
function pieceOf(rows: readonly Row[]): CopyPiece {
  const messages = rows.map(message)
  const bytes = Buffer.concat(messages)
  const before = below(9)
  const memory = Buffer.alloc(before + bytes.length + COPY_SLACK_BYTES, pick(['\t', '\n', '\\', 'x']))
  bytes.copy(memory, before)
  const last = bytes.length - messages.at(-1)!.length
  return { bytes: memory.subarray(before, before + bytes.length), count: rows.length, last }
}

function both(schema: TableSchema, rows: readonly Row[]): { packed: ChangeBatch; plain: ChangeBatch } {
  const piece = pieceOf(rows)
  const chunk = packedChunk(schema, new CopyRows(piece, schema.columns.length), piece.bytes.length)
  const { bytes } = chunk
  return {
    packed: snapshotBatch(chunk, SNAPSHOT),
    plain: snapshotBatch({ schema, rows, bytes }, SNAPSHOT),
  }
}

t.test('the last row comes off, and the others stay bytes', async (t) => {
  for (let i = 0; i < 100; i++) {
    const rows = Array.from({ length: 1 + below(5) }, randomRow)
    const piece = pieceOf(rows)
    const chunk = packedChunk(SCHEMA, new CopyRows(piece, SCHEMA.columns.length), piece.bytes.length)
    const { head, row, bytes } = splitLast(chunk)
    t.strictSame(row, rows.at(-1))
    t.equal((head?.bytes ?? 0) + bytes, chunk.bytes)
    t.equal(head?.packed?.count ?? 0, rows.length - 1)
    if (head === null) continue
    t.strictSame(head.packed!.last(), rows.at(-2))
    const format = createFormat({ name: 'row-json', logicalName: 's', clock: () => 1 })
    const written = (batch: ChangeBatch) => format.encode(batch).bytes.toString()
    const plain = { schema: SCHEMA, rows: rows.slice(0, -1), bytes: head.bytes }
    t.equal(written(snapshotBatch(head, SNAPSHOT)), written(snapshotBatch(plain, SNAPSHOT)))
    const marks = { first: 'first' } as const
    const marked = snapshotBatch(head, SNAPSHOT, marks)
    t.strictSame(renamedBatch(marked, { ...SCHEMA, name: 'other' }), {
      ...marked,
      schema: { ...SCHEMA, name: 'other' },
    })
  }
})

for (const name of FORMAT_NAMES) {
  const format = createFormat({ name, logicalName: 's', clock: () => 1 })
  const written = (batch: ChangeBatch) => {
    const { bytes, events, ends } = format.encode(batch, { ends: true })
    return { text: bytes.toString('utf8'), events, ends: [...ends!] }
  }

  t.test(`${name}: bytes and values give the same lines`, async (t) => {
    for (let i = 0; i < 300; i++) {
      const { packed, plain } = both(SCHEMA, Array.from({ length: 1 + below(20) }, randomRow))
      const got = written(packed)
      const want = written(plain)
      if (got.text !== want.text) return t.equal(got.text, want.text, `batch ${i}`)
      if (!t.same(got.ends, want.ends) || !t.equal(got.events, want.events)) return
      if (i % 50 === 0) t.strictSame(written(packed), want, 'and again: reading them leaves them whole')
    }
  })

  t.test(`${name}: a table without columns, and one of very many`, async (t) => {
    const none = both(table('none', []), [[''], ['']])
    t.strictSame(written(none.packed), written(none.plain))
    const many = table(
      'many',
      Array.from({ length: 120 }, (_, i) => column(`c${i}`, columnType('string', 'text'))),
    )
    const wide = both(
      many,
      Array.from({ length: 50 }, () => many.columns.map(() => (chance(0.2) ? null : text()))),
    )
    t.strictSame(written(wide.packed), written(wide.plain))
  })
}

t.test('as values, and the last of them', async (t) => {
  for (let i = 0; i < 100; i++) {
    const rows = Array.from({ length: 1 + below(5) }, randomRow)
    const piece = pieceOf(rows)
    const packed = new CopyRows(piece, SCHEMA.columns.length)
    packed.values()
    t.strictSame(packed.rows(), rows)
    t.strictSame(packed.last(), rows.at(-1))
    const shorter = withoutLast(piece)
    t.strictSame(shorter === null ? [] : new CopyRows(shorter, SCHEMA.columns.length).rows(), rows.slice(0, -1))
    if (shorter !== null) t.strictSame(lastRow(shorter), rows.at(-2))
  }
})

t.test('millions of escapes in one value', async (t) => {
  const long = ['a\\', '\\\\b', '\n', 'abc\t'].map((part) => part.repeat(1_000_000))
  const packed = new CopyRows(pieceOf([long]), long.length)
  t.ok(packed.rows()[0]!.every((value, i) => value === long[i]))
  const text = copyText([long as string[]])
  t.ok(
    text
      .slice(0, -1)
      .split('\t')
      .every((field, i) => field === message([long[i]!]).toString('utf8', FRAME_BYTES).slice(0, -1)),
  )
})

t.test('pieces behind each other are one', async (t) => {
  const rows = Array.from({ length: 3 }, randomRow)
  const whole = pieceOf(rows)
  const first = withoutLast(whole)!
  const second = { bytes: whole.bytes.subarray(whole.last), count: 1, last: 0 }
  const again = joined(first, second, 1 << 20)!
  t.strictSame(new CopyRows(again, SCHEMA.columns.length).rows(), rows)
  t.strictSame(lastRow(again), rows[2])
  t.equal(joined(first, second, whole.bytes.length - 1), null, 'not beyond the limit')
  t.equal(joined(second, first, 1 << 20), null, 'not in another order')
  t.equal(joined(first, pieceOf(rows), 1 << 20), null, 'not from elsewhere')
})

t.test('a batch under another name stays bytes', async (t) => {
  const { packed, plain } = both(SCHEMA, [randomRow(), randomRow()])
  const schema = { ...SCHEMA, name: 'other', fingerprint: 'other' }
  const renamed = renamedBatch(packed, schema)
  t.ok(renamed.kind === 'rows' && renamed.packed !== undefined)
  t.equal(changeCount(renamed), 2)
  t.equal(renamed.schema, schema)
  const values = plain.kind === 'rows' && plain.changes.map(({ after }) => after)
  t.strictSame(renamed.kind === 'rows' && renamed.changes.map(({ after }) => after), values)
})

t.test('a line with another number of values is never passed on', async (t) => {
  const piece = pieceOf([['1', 'a', 'b']])
  t.throws(() => new CopyRows(piece, 2).values(), { code: 'core.bug' })
  t.throws(() => new CopyRows(piece, 4).values(), { code: 'core.bug' })
})
