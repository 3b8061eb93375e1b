/** Parts of the MySQL source that need no server: windows in the core, GTID sets, statements, numbers, positions. */
import t from 'tap'
import { readStatement } from '../../connectors/mysql/ddl.js'
import { decimalBytes, decimalReader } from '../../connectors/mysql/decimal.js'
import { GtidSet } from '../../connectors/mysql/gtid.js'
import { compareNumbers } from '../../connectors/mysql/keys.js'
import { uuidText } from '../../connectors/mysql/mariadb-types.js'
import { doubleText, floatText } from '../../connectors/mysql/number-text.js'
import { formatMysqlPosition, ordinalOf, parseMysqlPosition } from '../../connectors/mysql/position.js'
import { keepsValues } from '../../connectors/mysql/retyped.js'
import { gtidCut, positionCut } from '../../core/cut.js'
import type { KeyOrder } from '../../core/key.js'
import { Merger } from '../../core/merger.js'
import type { ChangeBatch, Position, TableId, TxnRef } from '../../core/model.js'
import type { ChunkRows } from '../../core/source.js'
import { mysqlUrlProblem } from '../../drivers/mysql.js'
import { column, columnType, table } from '../support/format-tables.js'

const order: KeyOrder = { located: false, compare: (a, b) => Number(a[0]) - Number(b[0]) }
const SCHEMA = {
  ...table('w', [
    column('id', { ...columnType('int64', 'int8'), native: 'bigint' }),
    column('v', { ...columnType('string', 'text'), native: 'text' }),
  ]),
  key: [0],
}
const UUID = '3e11fa47-71ca-11e1-9e33-c80aa9429562'

function windowMerger(out: ChangeBatch[]): Merger {
  const source = { schema: SCHEMA, order, estimatedRows: null, estimatedBytes: null }
  return new Merger({
    tables: [source],
    added: new Set<TableId>(),
    state: null,
    position: '' as Position,
    snapshot: true,
    completesMoves: true,
    emit: (batch) => out.push(batch),
  })
}

const txn = (ordinal: bigint): TxnRef => ({ ordinal, previous: 0n, tsUs: 0n, gtid: { source: UUID, number: ordinal } })
const low = (to: bigint) => gtidCut(new Map([[UUID, [[1n, to]]]]), 0n)

t.test('rows of a window are counted until the log has passed it, and leave in pieces', async (t) => {
  const out: ChangeBatch[] = []
  const merger = windowMerger(out)
  const { id } = SCHEMA
  const merge = merger.table(id)
  const range = merge.ranges[0]!.id
  t.ok(merge.open(range))
  const window = { high: async () => positionCut(20n) }
  t.equal(merge.cut(range, { cut: low(5n), tsUs: 0n, at: 0n, xid: 0n, window }), 'ok')
  const rows: ChunkRows = {
    schema: SCHEMA,
    rows: Array.from({ length: 10_000 }, (_, i) => [String(i), 'x'.repeat(90)]),
    bytes: 1_000_000,
  }
  merger.rows(id, range, rows, null)
  const update = (ordinal: bigint, key: string, v: string | null) =>
    merger.log({
      items: [
        {
          kind: 'rows',
          txn: txn(ordinal),
          schema: SCHEMA,
          bytes: 100,
          changes: [
            v === null
              ? { op: 'd', before: [key, 'old'], after: null, at: 0 }
              : { op: 'u', before: [key, 'old'], after: [key, v], at: 0 },
          ],
        },
      ],
      position: String(ordinal) as Position,
      ordinal,
      midTransaction: false,
      bytes: 100,
    })
  update(7n, '3', 'inside')
  merger.finish(id, range, null, positionCut(20n))
  t.equal(out.length, 0, 'nothing leaves before the log is there (I5)')
  t.ok(merger.windowBytes >= 1_000_000, `${merger.windowBytes} bytes wait`)
  update(19n, '4', null)
  update(21n, '3', 'behind')
  t.equal(merger.windowBytes, 0)
  const reads = out.filter((batch) => batch.origin.kind === 'snapshot')
  t.ok(reads.length >= 10, `${reads.length} pieces`)
  t.ok(reads.every((batch) => batch.bytes > 0 && batch.bytes <= 70_000))
  const copied = new Map(
    reads.flatMap((b) => (b.kind === 'rows' ? b.changes : [])).map(({ after }) => [after![0], after![1]]),
  )
  t.equal(copied.size, 9_999)
  t.equal(copied.get('3'), 'inside', '1.10 a: folded in')
  t.notOk(copied.has('4'))
  const later = out.filter((batch) => batch.origin.kind === 'log').flatMap((b) => (b.kind === 'rows' ? b.changes : []))
  t.same(
    later.map(({ after }) => after),
    [['3', 'behind']],
  )
})

t.test('GTID sets', async (t) => {
  const set = GtidSet.parse(`${UUID}:1-3:5,\n ${UUID.replace('3e', '4e')}:7:tag_a:1-2`)
  t.equal(set.toString(), `${UUID}:1-3:5,${UUID.replace('3e', '4e')}:7:tag_a:1-2`)
  set.add(UUID, 4n)
  t.ok(set.toString().startsWith(`${UUID}:1-5,`), 'a gap is filled')
  set.add(UUID, 9n)
  t.ok(set.has(UUID, 9n))
  t.notOk(set.has(UUID, 8n))
  t.ok(set.has(`${UUID.replace('3e', '4e')}:tag_a`, 2n))
  t.notOk(set.has(UUID.replace('3e', '4e'), 2n), 'a tag is another source')
  t.equal(
    set
      .without([{ source: UUID, number: 3n }])
      .toString()
      .split(',')[0],
    `${UUID}:1-2:4-5:9`,
  )
  const cut = set.cut(0n)
  set.add(UUID, 8n)
  t.notOk(cut.covers({ ...txn(1n), gtid: { source: UUID, number: 8n } }), 'a cut does not grow')
})

t.test('T65 neither of two sets holds the other', async (t) => {
  const other = UUID.replace('3e', '4e')
  const [a, b] = [GtidSet.parse(`${UUID}:1-5,${other}:1-2`).cut(0n), GtidSet.parse(`${UUID}:1-4,${other}:1-3`).cut(0n)]
  const of = (source: string, number: bigint): TxnRef => ({ ...txn(1n), gtid: { source, number } })
  t.ok(a.covers(of(UUID, 5n)) && !b.covers(of(UUID, 5n)))
  t.ok(!a.covers(of(other, 3n)) && b.covers(of(other, 3n)))
})

t.test('positions', async (t) => {
  const whole = { server: 's', file: 'bin.000007', at: 120, base: 0n, gtids: `${UUID}:1-5`, inside: null, last: null }
  t.same(parseMysqlPosition(formatMysqlPosition(whole)), whole)
  const inside = { ...whole, base: 5n, inside: { id: `${UUID}:6`, events: 3 }, last: 'bin.000007/60/1', gtids: null }
  t.same(parseMysqlPosition(formatMysqlPosition(inside)), inside)
  const places = ['bin.999999', 'bin.1000000'].map((file) => ordinalOf(0n, { file, at: 4 }))
  t.ok(places[0]! < places[1]!, 'T67')
  t.ok(ordinalOf(0n, { file: 'b.1', at: 5 * 2 ** 32 }) < ordinalOf(0n, { file: 'b.2', at: 4 }), 'files above 4 GiB')
})

t.test('statements', async (t) => {
  const db = 'app'
  const at = (table: string, database = db) => ({ database, table })
  const cases: readonly (readonly [string, object])[] = [
    ['BEGIN', { kind: 'begin' }],
    ['COMMIT', { kind: 'commit' }],
    ['SAVEPOINT `x`', { kind: 'savepoint' }],
    ['ROLLBACK TO `x`', { kind: 'savepoint' }],
    ['truncate table t', { kind: 'truncate', table: at('t') }],
    ['TRUNCATE `o`.`t`', { kind: 'truncate', table: at('t', 'o') }],
    ['/* why */ DROP TABLE IF EXISTS `a`,b /* generated by server */', { kind: 'drop', tables: [at('a'), at('b')] }],
    ['DROP TEMPORARY TABLE a', { kind: 'other' }],
    ['DROP SCHEMA if exists x', { kind: 'drop-database', database: 'x' }],
    [
      'RENAME TABLE a TO o.b, `c``d` TO a',
      {
        kind: 'rename',
        pairs: [
          { from: at('a'), to: at('b', 'o') },
          { from: at('c`d'), to: at('a') },
        ],
      },
    ],
    [
      'ALTER TABLE t ADD COLUMN c INT DEFAULT 5, DROP d',
      { kind: 'alter', table: at('t'), renamed: null, rewrites: null, columns: [{ from: 'd', to: null }], types: [] },
    ],
    [
      'ALTER TABLE t RENAME TO u',
      { kind: 'alter', table: at('t'), renamed: at('u'), rewrites: null, columns: [], types: [] },
    ],
    [
      'alter table t rename column a to b',
      { kind: 'alter', table: at('t'), renamed: null, rewrites: null, columns: [{ from: 'a', to: 'b' }], types: [] },
    ],
    [
      'ALTER TABLE t EXCHANGE PARTITION p WITH TABLE x',
      { kind: 'alter', table: at('t'), renamed: null, rewrites: 'EXCHANGE PARTITION', columns: [], types: [] },
    ],
    [
      'ALTER TABLE t DROP PARTITION p',
      { kind: 'alter', table: at('t'), renamed: null, rewrites: 'DROP PARTITION', columns: [], types: [] },
    ],
    [
      'ALTER TABLE t IMPORT TABLESPACE',
      { kind: 'alter', table: at('t'), renamed: null, rewrites: 'IMPORT TABLESPACE', columns: [], types: [] },
    ],
    [
      "ALTER TABLE t COMMENT = 'RENAME TO u, DROP PARTITION p'",
      { kind: 'alter', table: at('t'), renamed: null, rewrites: null, columns: [], types: [] },
    ],
    [
      'ALTER TABLE t ADD INDEX i (a, b)',
      { kind: 'alter', table: at('t'), renamed: null, rewrites: null, columns: [], types: [] },
    ],
    [
      '/*!40000 ALTER TABLE `t` DISABLE KEYS */',
      { kind: 'alter', table: at('t'), renamed: null, rewrites: null, columns: [], types: [] },
    ],
    [
      "ALTER TABLE t MODIFY COLUMN a INT(10) UNSIGNED NOT NULL, CHANGE b `c` ENUM('x','y''z') DEFAULT 'x'",
      {
        kind: 'alter',
        table: at('t'),
        renamed: null,
        rewrites: 'MODIFY COLUMN',
        columns: [{ from: 'b', to: 'c' }],
        types: [
          { column: 'a', type: 'int(10) unsigned' },
          { column: 'c', type: "enum('x','y''z')" },
        ],
      },
    ],
    ['CREATE TABLE IF NOT EXISTS n LIKE t', { kind: 'create', table: at('n') }],
    ['CREATE VIEW v AS SELECT 1', { kind: 'other' }],
    ["GRANT SELECT ON *.* TO 'u'@'%'", { kind: 'other' }],
    ['-- a note\nTRUNCATE t', { kind: 'truncate', table: at('t') }],
    ['# a note\nTRUNCATE t', { kind: 'truncate', table: at('t') }],
  ]
  for (const [sql, want] of cases) t.same(readStatement(sql, db), want, sql)
  const dml = readStatement("UPDATE `o`.`t` SET a = 'x.y' WHERE b = 1", db)
  t.ok(dml.kind === 'dml' && dml.names.some(({ database, table }) => database === 'o' && table === 't'))
})

t.test('rule l: a type that keeps every value, and one that may not', async (t) => {
  for (const [from, to] of [
    ['int', 'bigint'],
    ['int(11)', 'INTEGER'],
    ['tinyint(1)', 'int(10)'],
    ['varchar(20)', 'varchar(200)'],
    ['decimal(10,2)', 'NUMERIC(12, 2)'],
    ['text', 'longtext'],
    ["enum('a','b')", "enum('a','b','c')"],
    ['datetime(3)', 'datetime(3)'],
  ] as const)
    t.equal(keepsValues(from, to), true, `${from} to ${to}`)
  for (const [from, to] of [
    ['bigint', 'int'],
    ['int', 'int unsigned'],
    ['varchar(200)', 'varchar(20)'],
    ['varchar(20)', 'char(20)'],
    ['binary(4)', 'binary(8)'],
    ['decimal(10,2)', 'decimal(12,4)'],
    ["enum('a','b')", "enum('b','a')"],
    ['datetime(6)', 'datetime'],
    ['double', 'float'],
    ['int', 'varchar(20)'],
  ] as const)
    t.equal(keepsValues(from, to), false, `${from} to ${to}`)
})

t.test('numbers as the server prints them', async (t) => {
  for (const [x, text] of [
    [1e14, '100000000000000'],
    [1e15, '1e15'],
    [1.25e-15, '0.00000000000000125'],
    [1e-16, '1e-16'],
    [1247901865281164.8, '1247901865281164.8'],
    [1234567890123456, '1.234567890123456e15'],
    [-0, '-0'],
    [0.1, '0.1'],
  ] as const)
    t.equal(doubleText(x), text)
  t.equal(floatText(Math.fround(0.1)), '0.1')
  t.equal(floatText(16777216), '16777216')
  t.equal(Math.fround(Number(floatText(Math.fround(3.4028234e38)))), Math.fround(3.4028234e38))
  t.equal(decimalBytes(18, 4), 9)
  t.equal(decimalReader(4, 2)(Buffer.from('8c22', 'hex'), 0), '12.34')
  t.equal(decimalReader(4, 2)(Buffer.from('73dd', 'hex'), 0), '-12.34')
})

t.test('keys compare as numbers do', async (t) => {
  const sorted = ['-18446744073709551615', '-10', '-9', '0', '9', '10', '9007199254740993', '18446744073709551615']
  for (let i = 1; i < sorted.length; i++) t.ok(compareNumbers(sorted[i - 1]!, sorted[i]!) < 0, sorted[i]!)
})

t.test('urls', async (t) => {
  t.equal(mysqlUrlProblem('mysql://u:p@h:3306/d?ssl-mode=VERIFY_CA'), null)
  for (const bad of [
    'postgres://h',
    'mysql://u:p#x@h',
    'mysql://u:p@h?tls=1',
    'mysql://u:p/w@h',
    'mysql://h?ssl-mode=maybe',
  ]) {
    const problem = mysqlUrlProblem(bad)
    t.ok(problem !== null && !problem.includes('p#x') && !problem.includes('p/w'), problem ?? bad)
  }
})

t.test(
  "rule m: MariaDB's uuid is stored in another order only where its version is one of the first five",
  async (t) => {
    const stored = (hex: string) => uuidText(Buffer.from(hex, 'hex'))
    t.equal(stored('0123456789ab8765432112345678abcd'), '5678abcd-1234-4321-8765-0123456789ab')
    t.equal(stored('017f22e279b07cc398c4dc0c0c07398f'), '017f22e2-79b0-7cc3-98c4-dc0c0c07398f')
    t.equal(stored('5603ec602ec7838d008a0123456789ab'), '5603ec60-2ec7-838d-008a-0123456789ab')
  },
)
