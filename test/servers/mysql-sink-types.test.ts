/** Every type with real values, through snapshot and log: PostgreSQL to MySQL, MySQL to MySQL, and MySQL to PostgreSQL. */
import t, { type Test } from 'tap'
import { postgresSink } from '../../sinks/postgres/index.js'
import { mysqlInto, mysqlIntoSink, postgresInto } from '../support/into-mysql.js'
import { createMysqlDatabase, type MysqlKind, type MysqlRow, type MysqlTestDatabase } from '../support/mysql.js'
import { openMysqlSink } from '../support/mysql-sink.js'
import { type TypedColumn, typedColumns } from '../support/mysql-values.js'
import { createDatabase } from '../support/postgres.js'
import { batch, change, put, schemaOf, typeOf } from '../support/postgres-sink.js'
import { random, testSeed } from '../support/seed.js'

const ROWS = 60
const NULLS = 0.1
const SEED = testSeed()
t.comment(`TIDEMARK_SEED=${SEED}`)

/** A table of every type that the server has, and a function that writes so many more random rows. */
async function typedTable(t: Test, kind: MysqlKind, only: (column: TypedColumn) => boolean = () => true) {
  const r = random(SEED)
  const db = await createMysqlDatabase(t, kind)
  const columns = typedColumns(kind).filter(only)
  const writer = await db.connect()
  await writer.query(`SET sql_mode = '', time_zone = '+00:00'; SET NAMES utf8mb4`)
  const list = columns.map(({ name, sql }) => `${name} ${sql}`).join(', ')
  await writer.query(`CREATE TABLE t (id INT PRIMARY KEY, ${list}) ROW_FORMAT = DYNAMIC`)
  const written = columns.filter(({ value }) => value !== null)
  const names = written.map((column) => column.name).join(', ')
  let id = 0
  const write = async () => {
    for (let i = 0; i < ROWS; i++) {
      const values = written.map(({ value }) => (r.chance(NULLS) ? 'NULL' : value!(r)))
      await writer.query(`INSERT INTO t (id, ${names}) VALUES (${id++}, ${values.join(', ')})`)
    }
  }
  return { db, columns, write }
}

const BYTES = /^(BINARY|VARBINARY|TINYBLOB|BLOB|MEDIUMBLOB|LONGBLOB|GEOMETRY|POINT|POLYGON|MULTIPOINT|VECTOR)/
const TEXT = /^(CHAR|VARCHAR|TINYTEXT|TEXT|MEDIUMTEXT|LONGTEXT|ENUM|SET|JSON|UUID|INET)/

/** A form of the value that both servers print in the same way. */
function shown({ name, sql }: TypedColumn): string {
  if (BYTES.test(sql)) return `HEX(${name})`
  if (TEXT.test(sql)) return `HEX(CONVERT(${name} USING utf8mb4))`
  if (/^(FLOAT|DOUBLE)/.test(sql)) return `${name} * 1e0`
  if (/^BIT/.test(sql)) return `BIN(${name} + 0)`
  return /ZEROFILL/.test(sql) ? `${name} + 0` : name
}

async function values(db: MysqlTestDatabase, columns: readonly TypedColumn[]): Promise<MysqlRow[]> {
  const list = columns.map((column) => `${shown(column)} AS ${column.name}`).join(', ')
  return db.query(`SET time_zone = '+00:00'; SELECT id, ${list} FROM t ORDER BY id`)
}

for (const [from, to] of [
  ['mysql', 'mysql'],
  ['mariadb', 'mariadb'],
  ['mysql', 'mariadb'],
  ['mariadb', 'mysql'],
  ['mysql56', 'mysql56'],
] as const satisfies readonly (readonly [MysqlKind, MysqlKind])[]) {
  t.test(`every type, ${from} to ${to}`, async (t) => {
    const { db, columns, write } = await typedTable(t, from)
    const target = await createMysqlDatabase(t, to)
    await write()
    await mysqlInto(db, target, { tables: `${db.name}.t` })
    await write()
    await mysqlInto(db, target, { tables: `${db.name}.t` })
    const [want, have] = [await values(db, columns), await values(target, columns)]
    t.equal(have.length, 2 * ROWS)
    const wrong = new Map<string, string>()
    for (const [i, row] of want.entries()) {
      for (const { name, sql } of columns) {
        // MariaDB has no negative zero.
        if (to === 'mariadb' && row[name] === '-0' && have[i]?.[name] === '0') continue
        if (have[i]?.[name] !== row[name])
          wrong.set(`${name} ${sql}`, `row ${row.id}: ${have[i]?.[name]}, was ${row[name]}`)
      }
    }
    t.same(Object.fromEntries(wrong), {})
  })
}

t.test('every type, MySQL to PostgreSQL', async (t) => {
  // PostgreSQL has no zero dates, no NUL in texts, and prints times of another type.
  const { db, columns, write } = await typedTable(t, 'mysql', ({ sql }) => !/^(DATE|TIME)/.test(sql))
  const target = await createDatabase(t)
  const sink = () =>
    postgresSink.create(postgresSink.options.parse({ url: target.url, schema: 'public' }) as never, {
      pipeline: db.name,
    })
  await write()
  await mysqlIntoSink(db, sink, { tables: `${db.name}.t` })
  await write()
  await db.query(
    "CREATE TABLE d (id INT PRIMARY KEY, a TIME(6), b DATETIME(6), c TIMESTAMP(3) NULL, e DATE); INSERT INTO d VALUES (1, '-838:59:58.000001', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.999', '1000-01-01')".replace(
      'INSERT',
      "SET time_zone = '+00:00'; INSERT",
    ),
  )
  await mysqlIntoSink(db, sink, { tables: `${db.name}.*` })
  const want = await values(db, columns)
  const list = columns.map((column) => {
    const { name, sql } = column
    if (BYTES.test(sql)) return `upper(encode(${name}, 'hex')) AS ${name}`
    if (TEXT.test(sql)) return `upper(encode(convert_to(${name}::text, 'UTF8'), 'hex')) AS ${name}`
    return `${name}::text AS ${name}`
  })
  const have = await target.query(`SELECT id, ${list.join(', ')} FROM t ORDER BY id`)
  const wrong = new Map<string, string>()
  for (const [i, row] of want.entries()) {
    for (const { name, sql } of columns) {
      const [was, is] = [row[name], have[i]?.[name]]
      const same = /^(FLOAT|DOUBLE)/.test(sql)
        ? Number(was) === (sql.startsWith('FLOAT') && is != null ? Math.fround(Number(is)) : Number(is)) &&
          (was === null) === (is === null)
        : /^BIT/.test(sql)
          ? (was ?? null) === (is?.replace(/^0+(?=.)/, '') ?? null)
          : (was ?? null) === (is ?? null) || (sql === 'YEAR' && Number(was) === Number(is))
      if (!same) wrong.set(`${name} ${sql}`, `row ${row.id}: ${is}, was ${was}`)
    }
  }
  t.same(Object.fromEntries(wrong), {})
  t.equal(have.length, 2 * ROWS)
  const [d] = await target.query(`SET timezone = 'UTC'; SELECT * FROM d`)
  t.same(d, {
    id: '1',
    a: '-838:59:58.000001',
    b: '9999-12-31 23:59:59.999999',
    c: '2038-01-19 03:14:07.999+00',
    e: '1000-01-01',
  })
})

const PG_COLUMNS: readonly [
  name: string,
  type: string,
  made: string,
  values: readonly (string | null)[],
  shown: readonly (string | null)[],
][] = [
  ['b', 'boolean', 'tinyint', ['true', 'false'], ['1', '0']],
  ['i2', 'smallint', 'smallint', ['-32768', '32767'], ['-32768', '32767']],
  ['i4', 'integer', 'int', ['-2147483648', '2147483647'], ['-2147483648', '2147483647']],
  [
    'i8',
    'bigint',
    'bigint',
    ['-9223372036854775808', '9223372036854775807'],
    ['-9223372036854775808', '9223372036854775807'],
  ],
  ['o', 'oid', 'bigint', ['4294967295', '0'], ['4294967295', '0']],
  ['f4', 'real', 'float', ['16777216', '0.1'], ['16777216', '0.10000000149011612']],
  ['f8', 'double precision', 'double', ['1.7976931348623157e308', '5e-324'], ['1.7976931348623157e308', '5e-324']],
  ['n', 'numeric(18,4)', 'decimal(18,4)', ['-99999999999999.9999', '0.0001'], ['-99999999999999.9999', '0.0001']],
  ['n2', 'numeric(3,-2)', 'decimal(5,0)', ['99900', '-100'], ['99900', '-100']],
  ['n5', 'numeric(2,5)', 'decimal(5,5)', ['0.00099', null], ['0.00099', null]],
  [
    'nn',
    'numeric',
    'decimal(65,30)',
    ['12345678901234567890123456789012345.123456789012345678901234567890', '1.0'],
    ['12345678901234567890123456789012345.123456789012345678901234567890', '1.000000000000000000000000000000'],
  ],
  ['m', 'money', 'decimal(20,2)', ['92233720368547758.07', '-0.01'], ['92233720368547758.07', '-0.01']],
  ['t', 'text', 'longtext', ["\t\u0001'\\", '漢😀 '], ["\t\u0001'\\", '漢😀 ']],
  ['v', 'varchar(5)', 'varchar(5)', ['😀😀😀😀😀', 'a    '], ['😀😀😀😀😀', 'a    ']],
  ['c', 'char(3)', 'varchar(3)', ['a', 'abc'], ['a  ', 'abc']],
  ['x', 'bytea', 'longblob', ['\\x00ff5c27', '\\x'], ['\u0000', '']],
  [
    'u',
    'uuid',
    'char(36)',
    ['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', null],
    ['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', null],
  ],
  ['d', 'date', 'date', ['0001-01-01', '9999-12-31'], ['0001-01-01', '9999-12-31']],
  ['tm', 'time', 'time(6)', ['24:00:00', '00:00:00.000001'], ['24:00:00.000000', '00:00:00.000001']],
  ['tz', 'timetz', 'longtext', ['12:00:00.5+05:30', null], ['12:00:00.5+05:30', null]],
  [
    'ts',
    'timestamp',
    'datetime(6)',
    ['0001-01-01 00:00:00', '9999-12-31 23:59:59.999999'],
    ['0001-01-01 00:00:00.000000', '9999-12-31 23:59:59.999999'],
  ],
  ['ts3', 'timestamp(3)', 'datetime(3)', ['2024-02-29 12:00:00.1239', null], ['2024-02-29 12:00:00.124', null]],
  [
    'tt',
    'timestamptz',
    'datetime(6)',
    ['2500-06-01 00:00:00+02', '1900-01-01 00:00:00+00'],
    ['2500-05-31 22:00:00.000000', '1900-01-01 00:00:00.000000'],
  ],
  ['iv', 'interval', 'longtext', ['1 year 2 days 3.5 seconds', '-1 day'], ['P1Y2DT3.5S', 'P-1D']],
  ['j', 'json', 'longtext', ['{"a": 1.50, "a":  2}', '"\\u0041"'], ['{"a": 1.50, "a":  2}', '"\\u0041"']],
  [
    'jb',
    'jsonb',
    'longtext',
    ['{"b": 1e2, "a": 12345678901234567890.12}', 'null'],
    ['{"a": 12345678901234567890.12, "b": 100}', 'null'],
  ],
  ['e', 'mood', 'varchar(63)', ["o'k", 'sad'], ["o'k", 'sad']],
  ['dm', 'short', 'varchar(4)', ['abcd', ''], ['abcd', '']],
  ['a', 'integer[]', 'longtext', ['{1,NULL,3}', '{{1,2},{3,4}}'], ['{1,NULL,3}', '{{1,2},{3,4}}']],
  ['bt', 'bit(64)', 'bit(64)', ['1'.repeat(64), '0'.repeat(64)], ['1'.repeat(64), '0']],
  ['bv', 'bit varying(70)', 'varchar(70)', ['01', ''], ['01', '']],
  ['ip', 'inet', 'longtext', ['10.0.0.1/8', '::1'], ['10.0.0.1/8', '::1']],
  ['r', 'int4range', 'longtext', ['[1,5)', 'empty'], ['[1,5)', 'empty']],
  ['h', 'xml', 'longtext', ['<a/>', null], ['<a/>', null]],
]

for (const kind of ['mysql', 'mariadb', 'mysql56'] satisfies MysqlKind[]) {
  t.test(`every type, PostgreSQL to ${kind}`, async (t) => {
    const source = await createDatabase(t)
    const target = await createMysqlDatabase(t, kind)
    await source.query(
      `CREATE TYPE mood AS ENUM ('sad', 'o''k'); CREATE DOMAIN short AS varchar(4); SET timezone = 'UTC'`,
    )
    const columns = PG_COLUMNS.map(([name, type]) => `"${name}" ${type}`).join(', ')
    await source.query(`CREATE TABLE t (id int PRIMARY KEY, ${columns})`)
    const quoted = (text: string | null) => (text === null ? 'NULL' : `'${text.replaceAll("'", "''")}'`)
    const insert = (id: number, row: number) =>
      source.query(
        `SET bytea_output = 'hex'; INSERT INTO t VALUES (${id}, ${PG_COLUMNS.map(([, , , v]) => quoted(v[row]!)).join(', ')})`,
      )
    for (const row of [0, 1]) await insert(row, row)
    await postgresInto(source, target, { tables: 'public.t' })
    for (const row of [0, 1]) await insert(10 + row, row)
    await source.query(`INSERT INTO t (id) VALUES (20)`)
    await postgresInto(source, target, { tables: 'public.t' })
    const made = await target.query(
      `SELECT COLUMN_NAME AS n, COLUMN_TYPE AS c FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '${target.name}' AND TABLE_NAME = 't'`,
    )
    // Display widths and the sign of an old server say nothing.
    const types = new Map(made.map((c) => [c.n, c.c!.replace(/((?:tiny|small|big)?int)\(\d+\)/, '$1')]))
    const list = PG_COLUMNS.map(([name, , type]) => {
      if (type === 'float' || type === 'double') return `\`${name}\` * 1e0 AS \`${name}\``
      if (type === 'bit(64)') return `BIN(\`${name}\` + 0) AS \`${name}\``
      return name === 'x' ? 'LEFT(x, 1) AS x' : `\`${name}\``
    })
    const rows = await target.query(`SET NAMES utf8mb4; SELECT id, ${list.join(', ')} FROM t ORDER BY id`)
    t.same(
      rows.map((row) => row.id),
      ['0', '1', '10', '11', '20'],
    )
    for (const [name, , type, , shown] of PG_COLUMNS) {
      t.equal(types.get(name), type, name)
      const norm = (text: string | null | undefined) =>
        /float|double/.test(type) && text ? String(Number(text)) : text
      t.same(
        rows.map((row) => norm(row[name])),
        [...shown, ...shown, null].map(norm),
        name,
      )
    }
    const [bytes] = await target.query('SELECT HEX(x) AS h FROM t WHERE id = 0')
    t.equal(bytes!.h, '00FF5C27')
  })

  t.test(`values that ${kind} does not have are refused, with table, column and row`, async (t) => {
    const db = await createMysqlDatabase(t, kind)
    const kinds: readonly [type: string, more: object, values: readonly string[]][] = [
      ['numeric', { kind: 'decimal' }, ['NaN', 'Infinity', '-Infinity', `1${'0'.repeat(35)}`, `0.${'0'.repeat(30)}1`]],
      ['numeric(70,40)', { kind: 'decimal', precision: 70, scale: 40 }, [`0.${'0'.repeat(38)}10`]],
      ['real', { kind: 'float32' }, ['NaN', 'Infinity']],
      ['double precision', { kind: 'float64' }, ['NaN', '-Infinity']],
      ['date', { kind: 'date' }, ['infinity', '0044-03-15 BC', '10000-01-01']],
      ['timestamp', { kind: 'timestamp' }, ['-infinity', '0044-03-15 00:00:00 BC', '294276-12-31 23:59:59']],
      ['timestamptz', { kind: 'timestamptz' }, ['infinity', '0044-03-15 00:00:00+00 BC']],
    ]
    const { c } = change
    for (const [i, [type, more, list]] of kinds.entries()) {
      const table = schemaOf(`t${i}`, { id: 'integer', v: typeOf(type, more) }, ['id'])
      for (const value of list) {
        const session = await openMysqlSink(db, [table], { pipeline: `p${i}` })
        const error = await put(session, '1', batch(table, c(['1', null]), c(['2', value]))).catch(
          (thrown: unknown) => thrown,
        )
        t.match(
          error,
          { code: 'sink.rejected', message: new RegExp(`\`t${i}\`.*[\`']v[\`'].*row with \`id\` = 2`) },
          `${type} ${value}`,
        )
        await session.close()
        t.same(await db.query(`SELECT * FROM t${i}`), [])
      }
    }
    const keyed = schemaOf('k', { id: 'text', b: 'bytea' }, ['id', 'b'])
    const session = await openMysqlSink(db, [keyed], { pipeline: 'k' })
    await put(session, '1', batch(keyed, c(['ü'.repeat(100), `\\x${'00'.repeat(300)}`])))
    const error = await put(session, '2', batch(keyed, c(['x'.repeat(1_000), '\\x']))).catch(
      (thrown: unknown) => thrown,
    )
    t.match(error, { code: 'sink.rejected', message: /`id` is longer than \d+ characters/ })
    await session.close()
  })
}

t.test('rows of more than 65,535 bytes of declared texts are made', async (t) => {
  for (const kind of ['mysql', 'mariadb'] satisfies MysqlKind[]) {
    const db = await createMysqlDatabase(t, kind)
    const text = typeOf('character varying(5000)', { length: 5_000 })
    const columns = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`c${i}`, text]))
    const table = schemaOf('wide', { id: 'integer', ...columns }, ['id'])
    const session = await openMysqlSink(db, [table])
    await put(session, '1', batch(table, change.c(['1', ...Array.from({ length: 20 }, () => '漢'.repeat(5_000))])))
    t.same(await db.query('SELECT CHAR_LENGTH(c0) + CHAR_LENGTH(c19) AS n FROM wide'), [{ n: '10000' }])
    await session.close()
    await (await openMysqlSink(db, [table])).close()
  }
})
