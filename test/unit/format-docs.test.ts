/** The examples in docs/formats.md are what the code writes. TIDEMARK_UPDATE=1 rewrites the table. */
import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import type { ColumnType } from '../../core/model.js'
import { createFormat, type FormatName } from '../../sinks/formats/format.js'
import { linesOf } from '../support/format-fixtures.js'
import { change, column, columnType, SNAPSHOT, table } from '../support/format-tables.js'

const PAGE = new URL('../../docs/formats.md', import.meta.url)
const START = '<!-- types: start -->\n'
const END = '<!-- types: end -->'

const list = (element: ColumnType): ColumnType => columnType('array', `_${element.base}`, { element })

/** Label, type, a value as the server prints it. */
const EXAMPLES: readonly (readonly [string, ColumnType, string])[] = [
  ['boolean', columnType('bool', 'bool'), 't'],
  ['smallint, integer', columnType('int32', 'int4'), '-32768'],
  ['bigint', columnType('int64', 'int8'), '9223372036854775807'],
  ['oid', columnType('other', 'oid'), '4294967295'],
  ['real, double precision', columnType('float64', 'float8'), '1e+20'],
  ['', columnType('float64', 'float8'), 'NaN'],
  ['numeric(p,s)', columnType('decimal', 'numeric', { precision: 18, scale: 4 }), '-12345678901234.5678'],
  ['', columnType('decimal', 'numeric', { precision: 18, scale: 4 }), 'NaN'],
  ['numeric', columnType('decimal', 'numeric'), '12345.678900'],
  ['money', columnType('money', 'money'), '-$1,234.56'],
  ['text, varchar, char, name, citext', columnType('string', 'text'), 'say "é"'],
  ['bytea', columnType('bytes', 'bytea'), '\\xdeadbeef'],
  ['bit(1)', columnType('bits', 'bit', { length: 1 }), '1'],
  ['bit(n), varbit', columnType('bits', 'bit', { length: 8 }), '10100101'],
  ['date', columnType('date', 'date'), '2024-02-29'],
  ['', columnType('date', 'date'), '0044-03-15 BC'],
  ['', columnType('date', 'date'), 'infinity'],
  ['time(0..3)', columnType('time', 'time', { precision: 3 }), '12:34:56.789'],
  ['time, time(4..6)', columnType('time', 'time'), '12:34:56.123456'],
  ['timetz', columnType('timetz', 'timetz'), '12:34:56.5+05:30'],
  ['timestamp(0..3)', columnType('timestamp', 'timestamp', { precision: 3 }), '2024-02-29 12:34:56.123'],
  ['timestamp, timestamp(4..6)', columnType('timestamp', 'timestamp'), '2024-02-29 12:34:56.123456'],
  ['', columnType('timestamp', 'timestamp'), 'infinity'],
  ['timestamptz', columnType('timestamptz', 'timestamptz'), '2024-02-29 10:34:56.5+00'],
  ['interval', columnType('interval', 'interval'), 'P1Y2M3DT4H5M6.789S'],
  ['uuid', columnType('uuid', 'uuid'), 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  ['json, jsonb', columnType('json', 'jsonb'), '{"a": 1.0}'],
  ['xml', columnType('xml', 'xml'), '<e/>'],
  ['enum', columnType('enum', 'mood'), 'ok'],
  ['inet, cidr, macaddr, macaddr8', columnType('other', 'inet'), '192.168.0.1/24'],
  ['ranges', columnType('other', 'int4range'), '[1,10)'],
  ['tsvector, ltree, isbn', columnType('other', 'tsvector'), "'cat':2"],
  ['point', columnType('point', 'point'), '(1.5,-2)'],
  ['hstore', columnType('hstore', 'hstore'), '"a"=>"1", "b c"=>NULL'],
  ['arrays', list(columnType('int32', 'int4')), '{1,NULL,3}'],
  ['', list(columnType('decimal', 'numeric', { precision: 8, scale: 2 })), '{1.50,-2.25}'],
  ['box, line, lseg, path, polygon, circle', columnType('other', 'box'), '(1,1),(0,0)'],
  ['tsquery, multiranges, pg_lsn, composite', columnType('other', 'tsquery'), "'fat' & 'cat'"],
]

function valueIn(name: FormatName, type: ColumnType, text: string): string {
  const format = createFormat({ name, logicalName: 's' })
  const schema = table('t', [column('v', type)])
  const [line] = linesOf(
    format.encode({ kind: 'rows', schema, origin: SNAPSHOT, changes: [change('r', null, [text], 1)], bytes: 0 }),
  )
  const from = line!.indexOf('"v":')
  if (from < 0) return 'left out'
  const end = name === 'row-json' ? line!.length - 1 : line!.indexOf('},"source":')
  return code(line!.slice(from + 4, end))
}

function code(text: string): string {
  return `\`${text.replaceAll('|', '\\|')}\``
}

t.test('the table of types', async (t) => {
  const rows = EXAMPLES.map(
    ([label, type, text]) =>
      `| ${label} | ${code(text)} | ${valueIn('debezium-json', type, text)} | ${valueIn('row-json', type, text)} |`,
  )
  const want = [
    '| PostgreSQL type | as the server prints it | debezium-json | row-json |',
    '|---|---|---|---|',
    ...rows,
    '',
  ].join('\n')
  const page = readFileSync(PAGE, 'utf8')
  const from = page.indexOf(START) + START.length
  const to = page.indexOf(END)
  if (process.env.TIDEMARK_UPDATE === '1') writeFileSync(PAGE, page.slice(0, from) + want + page.slice(to))
  else t.equal(page.slice(from, to), want)
  t.ok(to >= from && from > START.length, 'the page has its markers')
})
