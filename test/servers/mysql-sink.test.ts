/** The mysql sink on real servers: what it writes, which targets it takes, and what it refuses. */
import t, { type Test } from 'tap'
import { TidemarkError } from '../../core/errors.js'
import type { TableSchema } from '../../core/model.js'
import { mysqlSink } from '../../sinks/mysql/index.js'
import { createMysqlDatabase, type MysqlKind, type MysqlTestDatabase, startMysql } from '../support/mysql.js'
import { clientRows, openMysqlSink, sinkOptions } from '../support/mysql-sink.js'
import { batch, change, put, schemaOf, signal, truncate, typeOf } from '../support/postgres-sink.js'

const { r, c, u, d } = change
const U = undefined
const KINDS: readonly MysqlKind[] = ['mysql', 'mariadb', 'mysql56']

const items = () => schemaOf('items', { id: 'integer', name: 'text', body: 'text' }, ['id'])

async function rows(db: MysqlTestDatabase, table = 'items'): Promise<string[]> {
  const found = await db.query(`SELECT * FROM \`${table}\``)
  return found.map((row) => Object.values(row).join('|')).sort()
}

async function failure(promise: Promise<unknown>): Promise<TidemarkError> {
  const thrown = await promise.then(
    () => null,
    (error: unknown) => error,
  )
  if (thrown instanceof TidemarkError) return thrown
  throw thrown ?? new Error('it did not fail')
}

const running: Promise<unknown>[] = []
t.jobs = 4
function each(
  name: string,
  test: (t: Test, db: MysqlTestDatabase, kind: MysqlKind) => Promise<void>,
  kinds: readonly MysqlKind[] = KINDS,
): void {
  for (const kind of kinds) {
    const body = async (t: Test) => test(t, await createMysqlDatabase(t, kind), kind)
    running.push(t.test(`${name} (${kind})`, { buffered: true }, body))
  }
}

each('writes, commits and reads its checkpoint back', async (t, db) => {
  const table = items()
  const session = await openMysqlSink(db, [table])
  t.equal(session.checkpoint, null)
  await session.write([batch(table, r(['1', 'a', 'x']), r(['2', "b'\\\t\n\u0001", null]))], { signal })
  await session.write([batch(table, c(['3', '\\N', '']), c(['4', 'ü😀"', '--']))], { signal })
  t.same(await rows(db), [], 'nothing is visible before the commit')
  await session.commit(`{"n":"1'\\\\"}`, { signal })
  t.same(await rows(db), ['1|a|x', `2|b'\\\t\n\u0001|`, '3|\\N|', '4|ü😀"|--'])
  const printed = await clientRows(db, 'SELECT HEX(name), body FROM items ORDER BY id')
  if (printed !== null) t.equal(printed[3], `${Buffer.from('ü😀"').toString('hex').toUpperCase()}\t--`)
  await session.commit('{"n":2}', { signal })
  await session.close()
  const again = await openMysqlSink(db, [table])
  t.equal(again.checkpoint, '{"n":2}')
  await again.close()
  const context = { pipeline: 'p', signal }
  t.equal(await mysqlSink.readCheckpoint(sinkOptions(db) as never, context), '{"n":2}')
  t.same(await mysqlSink.drop(sinkOptions(db) as never, context), [
    `checkpoint of pipeline p in \`${db.name}\`.\`checkpoint\``,
  ])
  t.same(await mysqlSink.drop(sinkOptions(db) as never, context), [])
  t.equal(await mysqlSink.readCheckpoint(sinkOptions(db) as never, context), null)
})

each('one batch ends as its changes do one after the other', async (t, db) => {
  const table = items()
  const session = await openMysqlSink(db, [table])
  const cases: [string, ReturnType<typeof c>[], string[]][] = [
    [
      'swap of two keys',
      [u(['9', U, U], ['1', U, U]), u(['1', U, U], ['2', U, U]), u(['2', U, U], ['9', U, U])],
      ['1|b|B', '2|a|A'],
    ],
    [
      'swap by split moves',
      [d(['1', U, U]), c(['9', 'a', 'A']), d(['2', U, U]), c(['1', 'b', 'B']), d(['9', U, U]), c(['2', 'a', 'A'])],
      ['1|b|B', '2|a|A'],
    ],
    ['move, then insert the old key', [u(['3', 'm', U], ['1', U, U]), c(['1', 'n', 'n'])], ['1|n|n', '2|b|B', '3|m|A']],
    ['delete and insert again', [d(['1', U, U]), c(['1', 'again', null])], ['1|again|', '2|b|B']],
    ['insert, partial update', [c(['3', 'c', 'C']), u(['3', 'cc', U])], ['1|a|A', '2|b|B', '3|cc|C']],
    ['two partial updates', [u(['1', 'a2', U]), u(['1', U, 'A2']), u(['1', 'a3', U])], ['1|a3|A2', '2|b|B']],
    ['an update that changes nothing', [u(['1', 'a', U]), u(['2', U, 'B'])], ['1|a|A', '2|b|B']],
    ['partial update, delete', [u(['1', 'a2', U]), d(['1', U, U])], ['2|b|B']],
    ['partial update, move', [u(['1', 'a2', U]), u(['3', U, U], ['1', U, U])], ['2|b|B', '3|a2|A']],
    [
      'a chain of moves',
      [u(['3', U, U], ['2', U, U]), u(['2', U, U], ['1', U, U]), u(['4', U, 'x'], ['3', U, U])],
      ['2|a|A', '4|b|x'],
    ],
    ['insert, move with unsent', [c(['5', 'e', 'E']), u(['6', 'f', U], ['5', U, U])], ['1|a|A', '2|b|B', '6|f|E']],
    ['delete, move onto it', [d(['2', U, U]), u(['2', U, U], ['1', U, U])], ['2|a|A']],
    ['read of a row that is there', [r(['1', 'read', 'R'])], ['1|read|R', '2|b|B']],
    ['delete of a row that is not there', [d(['77', U, U])], ['1|a|A', '2|b|B']],
  ]
  for (const [name, changes, expected] of cases) {
    await put(session, name, truncate(table), batch(table, c(['1', 'a', 'A']), c(['2', 'b', 'B'])))
    await put(session, name, batch(table, ...changes))
    t.same(await rows(db), expected, name)
    await put(session, name, truncate(table), batch(table, c(['1', 'a', 'A']), c(['2', 'b', 'B'])))
    for (const one of changes) await session.write([batch(table, one)], { signal })
    await session.commit(name, { signal })
    t.same(await rows(db), expected, `${name}, one by one`)
  }
  await session.close()
})

each('an update with unsent values of a row that is not there stops, naming it', async (t, db) => {
  const table = items()
  for (const changes of [
    [u(['1', 'x', U]), u(['7', 'x', U])],
    [d(['1', U, U]), u(['7', 'x', U])],
    [u(['8', 'x', U], ['7', U, U])],
  ]) {
    await db.query('DROP TABLE IF EXISTS items; DROP TABLE IF EXISTS checkpoint')
    const session = await openMysqlSink(db, [table])
    await put(session, '1', batch(table, c(['1', 'a', 'A'])))
    const error = await failure(put(session, '2', batch(table, ...changes)))
    t.equal(error.code, 'sink.row_missing')
    t.match(error.message, /`items`.*`id` = 7/)
    await session.close()
    t.same(await rows(db), ['1|a|A'], 'nothing of the batch is visible')
  }
})

each('batches of more bytes than one statement, of composite keys and many deletes', async (t, db) => {
  const table = schemaOf('items', { a: 'bigint', b: 'text', body: 'text' }, ['a', 'b'])
  const session = await openMysqlSink(db, [table])
  const row = (i: number) => [String(i % 50), `key'${i}`, 'x'.repeat(1_000)]
  const all = Array.from({ length: 4_000 }, (_, i) => i)
  await put(session, '1', batch(table, ...all.map((i) => r(row(i)))))
  const gone = all.filter((i) => i % 2 === 0)
  await put(
    session,
    '2',
    batch(table, ...gone.map((i) => d([...row(i).slice(0, 2), U]))),
    batch(table, u(['1', "key'1", 'y'])),
  )
  const [count] = await db.query("SELECT COUNT(*) n, SUM(body = 'y') y, SUM(LENGTH(body)) bytes FROM items")
  t.same(count, { n: '2000', y: '1', bytes: String(1_999 * 1_000 + 1) })
  await session.close()
})

each('a truncate that was not committed leaves the rows', async (t, db) => {
  const table = items()
  const session = await openMysqlSink(db, [table])
  await put(session, '1', batch(table, c(['1', 'a', null]), c(['2', 'b', null])))
  await session.write([truncate(table), batch(table, c(['3', 'c', null]))], { signal })
  await session.write([], { signal })
  await session.close()
  const next = await openMysqlSink(db, [table])
  t.same(await rows(db), ['1|a|', '2|b|'])
  await put(next, '2', batch(table, c(['4', 'd', null])), truncate(table), batch(table, c(['3', 'c', null])))
  t.same(await rows(db), ['3|c|'])
  await next.close()
})

each('tables without a key: rows are found by all their values', async (t, db) => {
  const real = typeOf('real', { kind: 'float32', base: 'float4' })
  const at = typeOf('timestamp without time zone', { kind: 'timestamp', base: 'timestamp' })
  const columns = { a: 'integer', b: 'text', n: typeOf('numeric', { kind: 'decimal' }), f: real, at, x: 'bytea' }
  const table = schemaOf('log', columns, [])
  const session = await openMysqlSink(db, [table])
  const row = (a: string, b: string | null) => [a, b, '1.10', '0.1', '2024-02-29 12:00:00.5', '\\x00ff']
  await put(session, '1', batch(table, c(row('1', 'x')), c(row('1', 'x')), c(row('1', null)), c(row('2', 'x '))))
  await put(
    session,
    '2',
    batch(table, d(row('1', 'x')), u(row('1', 'y'), row('1', null)), u(row('3', 'z'), row('2', 'x '))),
  )
  const found = async () => (await db.query('SELECT a, b FROM log ORDER BY a, b')).map(({ a, b }) => `${a}${b}`)
  t.same(await found(), ['1x', '1y', '3z'])
  const error = await failure(put(session, '3', batch(table, d(row('1', 'X')))))
  t.equal(error.code, 'sink.row_missing', 'another case is another value')
  await session.close()
  t.same(await found(), ['1x', '1y', '3z'])
})

each('texts that a usual collation takes for one key stay two rows', async (t, db, kind) => {
  const table = schemaOf('items', { id: 'text', name: 'text' }, ['id'])
  const session = await openMysqlSink(db, [table])
  const keys = ['a', 'A', 'á', 'ß', 'ss', '', 'a\t', '😀', '😁', '\u200b']
  if (kind !== 'mysql56') keys.push('a ', 'a  ', ' ')
  await put(session, '1', batch(table, ...keys.map((key, i) => c([key, String(i)]))))
  await put(session, '2', batch(table, ...keys.map((key, i) => u([key, `${i}!`]))), batch(table, d(['A', U])))
  const left = keys.flatMap((key, i) => (key === 'A' ? [] : [`${Buffer.from(key).toString('hex')}|${i}!`])).sort()
  const found = await db.query('SELECT LOWER(HEX(id)) id, name FROM items')
  t.same(found.map((row) => `${row.id}|${row.name}`).sort(), left)
  if (kind === 'mysql56') {
    const error = await failure(put(session, '3', batch(table, c(['a ', 'x']))))
    t.match(error, { code: 'sink.rejected', message: /`id` ends with a space.*`id` = a / })
  }
  await session.close()
  await db.query('DROP TABLE items; DROP TABLE checkpoint')
  await db.query('CREATE TABLE items (id VARCHAR(100) COLLATE utf8mb4_unicode_ci PRIMARY KEY, name LONGTEXT)')
  const error = await failure(openMysqlSink(db, [table]))
  t.match(error, {
    code: 'sink.key',
    message: /collation utf8mb4_unicode_ci/,
    fix: /MODIFY `id` varchar\(\d+\) .*_bin NOT NULL/,
  })
  const checked = await mysqlSink.check(sinkOptions(db) as never, { pipeline: 'p', signal, tables: [table] })
  t.match(checked.find((f) => f.level === 'problem')?.message, /collation utf8mb4_unicode_ci/)
  await db.query(error.fix!)
  const mended = await openMysqlSink(db, [table])
  await mended.close()
})

each('a refused row is named', async (t, db) => {
  await db.query(
    'CREATE TABLE items (id INT PRIMARY KEY, name LONGTEXT CHARACTER SET latin1, body LONGTEXT) ENGINE = InnoDB',
  )
  const table = items()
  for (const count of [3, 500]) {
    const session = await openMysqlSink(db, [table], { first: [table], existing: 'truncate' })
    const changes = Array.from({ length: count }, (_, i) => u([String(i), i === 2 ? 'щ' : 'n', 'x']))
    const error = await failure(put(session, '1', batch(table, ...changes)))
    t.equal(error.code, 'sink.rejected')
    t.match(error.message, /`items`.*row with `id` = 2$/)
    await session.close()
  }
  t.same(await rows(db), [])
  const session = await openMysqlSink(db, [table], { first: [table] })
  const [limit] = await db.query('SELECT @@max_allowed_packet AS bytes')
  const huge = 'x'.repeat(Number(limit!.bytes))
  const error = await failure(put(session, '1', batch(table, c(['1', 'fine', huge]))))
  t.match(error, { code: 'sink.rejected', message: /`id` = 1.*bytes/, fix: /max_allowed_packet/ })
  await session.close()
})

each('another unique index of the target decides by an error, never by a merge', async (t, db) => {
  const create = 'CREATE TABLE items (id INT PRIMARY KEY, name VARCHAR(20) UNIQUE, body LONGTEXT) ENGINE = InnoDB'
  const table = schemaOf(
    'items',
    { id: 'integer', name: typeOf('character varying(20)', { length: 20 }), body: 'text' },
    ['id'],
  )
  await db.query(create)
  t.match(await failure(openMysqlSink(db, [table])), { code: 'sink.constraints', message: /unique index name/ })
  const session = await openMysqlSink(db, [table], { 'target.constraints': 'allow' })
  await put(session, '1', batch(table, c(['1', 'a', 'A']), c(['2', 'b', 'B'])))
  await put(session, '2', batch(table, u(['1', 'b', 'A']), u(['2', 'a', 'B']), c(['3', 'c', 'C'])))
  t.same(await rows(db), ['1|b|A', '2|a|B', '3|c|C'], 'values swapped inside a batch')
  const error = await failure(put(session, '3', batch(table, u(['3', 'a', 'again']))))
  t.match(error, { code: 'sink.rejected', message: /Duplicate entry 'a'.*`id` = 3/ })
  await session.close()
  t.same(await rows(db), ['1|b|A', '2|a|B', '3|c|C'])
  await db.query('ALTER TABLE items ADD COLUMN more INT DEFAULT 7')
  const lost = await failure(openMysqlSink(db, [table], { 'target.constraints': 'allow' }))
  t.match(lost, { code: 'sink.constraints', message: /`more`, whose values would be lost/ })
})

each('existing targets: what does not fit is refused with its statement', async (t, db, kind) => {
  const price = typeOf('numeric(10,2)', { kind: 'decimal', precision: 10, scale: 2 })
  const name = typeOf('character varying(20)', { length: 20 })
  const table = schemaOf('items', { id: 'integer', name, price }, ['id'])
  const make = (columns: string, engine = 'InnoDB') => `CREATE TABLE items (${columns}) ENGINE = ${engine}`
  const refusals: [ddl: string, code: string, fix: RegExp][] = [
    [make('id INT PRIMARY KEY, name VARCHAR(20)'), 'sink.column_missing', /ADD COLUMN `price` decimal\(10,2\) NULL/],
    [
      make('id INT PRIMARY KEY, name VARCHAR(19), price DECIMAL(10,2)'),
      'sink.column_type',
      /MODIFY `name` varchar\(20\)/,
    ],
    [make('id INT PRIMARY KEY, name CHAR(20), price DECIMAL(10,2)'), 'sink.column_type', /MODIFY `name` varchar\(20\)/],
    [make('id INT PRIMARY KEY, name TEXT, price DECIMAL(10,1)'), 'sink.column_type', /MODIFY `price` decimal\(10,2\)/],
    [make('id INT PRIMARY KEY, name TEXT, price DOUBLE'), 'sink.column_type', /MODIFY `price` decimal\(10,2\)/],
    [
      make('id INT UNSIGNED PRIMARY KEY, name TEXT, price DECIMAL(10,2)'),
      'sink.column_type',
      /MODIFY `id` int NOT NULL/,
    ],
    [make('id INT NOT NULL, name TEXT, price DECIMAL(10,2)'), 'sink.key', /ADD PRIMARY KEY \(`id`\)/],
    [make('id INT UNIQUE, name TEXT, price DECIMAL(10,2)'), 'sink.key', /ADD PRIMARY KEY \(`id`\)/],
    [make('id INT, name VARCHAR(20), price DECIMAL(10,2), PRIMARY KEY (id, name)'), 'sink.key', /ADD PRIMARY KEY/],
    [
      make('id INT PRIMARY KEY, name TEXT, price DECIMAL(10,2), more INT NOT NULL'),
      'sink.column_unwritable',
      /MODIFY `more` .* NULL/,
    ],
    [make('id INT PRIMARY KEY, name TEXT, price DECIMAL(10,2)', 'MyISAM'), 'sink.target_kind', /ENGINE = InnoDB/],
    ['CREATE VIEW items AS SELECT 1 AS id', 'sink.target_kind', /route/],
    [
      `${make('id INT PRIMARY KEY, name TEXT, price DECIMAL(10,2)')}; CREATE TRIGGER tr BEFORE INSERT ON items FOR EACH ROW SET NEW.name = 'x'`,
      'sink.constraints',
      /target\.constraints: allow/,
    ],
    [
      `${make('id INT PRIMARY KEY, name TEXT, price DECIMAL(10,2)')}; INSERT INTO items VALUES (1, 'x', 1)`,
      'sink.target_not_empty',
      /existing: truncate/,
    ],
  ]
  if (kind !== 'mysql56')
    refusals.push([
      make('id INT PRIMARY KEY, name TEXT, price DECIMAL(10,2) AS (id) STORED'),
      'sink.column_unwritable',
      /DROP COLUMN `price`/,
    ])
  for (const [ddl, code, fix] of refusals) {
    await db.query(ddl)
    const error = await failure(openMysqlSink(db, [table]))
    t.equal(error.code, code, ddl)
    t.match(error.fix, fix, ddl)
    const findings = await mysqlSink.check(sinkOptions(db) as never, { pipeline: 'p', signal, tables: [table] })
    t.match(findings.find((f) => f.level === 'problem')?.fix, fix, `check: ${ddl}`)
    if (/^sink\.column/.test(code) && !ddl.includes('more')) {
      await db.query(error.fix!)
      await (await openMysqlSink(db, [table])).close()
    }
    await db.query(`DROP ${ddl.includes('VIEW') ? 'VIEW' : 'TABLE'} items`)
    await db.query('DROP TABLE IF EXISTS checkpoint')
  }
  await db.query(
    "CREATE TABLE other (id BIGINT PRIMARY KEY) ENGINE = InnoDB; CREATE TABLE items (id BIGINT PRIMARY KEY, name VARCHAR(30), price DECIMAL(20,6), more INT DEFAULT 7, FOREIGN KEY (id) REFERENCES other (id)) ENGINE = InnoDB; SET foreign_key_checks = 0; INSERT INTO items VALUES (1, 'x', 1, 8), (2, 'y', 2, 8)",
  )
  const session = await openMysqlSink(db, [table], { existing: 'upsert' })
  await put(session, '1', batch(table, r(['1', 'z', '1.50']), r(['3', 'n', '2.00'])))
  t.same(await rows(db), ['1|z|1.500000|8', '2|y|2.000000|8', '3|n|2.000000|7'], 'a foreign key is not looked at')
  await session.close()
  const emptied = await openMysqlSink(db, [table], { existing: 'truncate', pipeline: 'other' })
  t.same(await rows(db), [])
  await emptied.close()
})

const ODD_SETTINGS = {
  sql_mode: 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PIPES_AS_CONCAT,NO_ZERO_DATE,NO_ZERO_IN_DATE',
  'default-time-zone': '+05:00',
  'character-set-server': 'latin1',
  'transaction-isolation': 'SERIALIZABLE',
  wait_timeout: '1000',
  binlog_format: 'STATEMENT',
  autocommit: '0',
}

each('settings of the server decide nothing', async (t, _, kind) => {
  const server = await startMysql(t, kind, ODD_SETTINGS)
  const db = await createMysqlDatabase(t, kind, { server, charset: 'latin1' })
  await db.query(
    `CREATE TABLE items (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(5), at TIMESTAMP NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP) ENGINE = InnoDB`,
  )
  const at = typeOf('timestamp', { kind: 'timestamptz', base: 'timestamp' })
  const name = { ...typeOf('varchar(5)', { length: 5 }), base: 'varchar' }
  const id = { ...typeOf('integer'), base: 'int', native: 'int' }
  const table = schemaOf('items', { id, name, at }, ['id'], { dialect: 'mysql' })
  const session = await openMysqlSink(db, [table])
  await put(
    session,
    '1',
    batch(table, c(['0', 'zero', '0000-00-00 00:00:00']), c(['-1', 'minus', '2001-02-03 04:05:06+00'])),
  )
  await put(session, '2', batch(table, u(['-1', 'part', U])))
  const found = await db.query("SET time_zone = '+00:00'; SELECT * FROM items ORDER BY id")
  t.same(
    found.map((row) => Object.values(row)),
    [
      ['-1', 'part', '2001-02-03 04:05:06'],
      ['0', 'zero', '0000-00-00 00:00:00'],
    ],
  )
  const error = await failure(put(session, '3', batch(table, c(['1', 'a    b', null]))))
  t.match(error, { code: 'sink.rejected', message: /`name` is longer than 5 characters; row with `id` = 1/ })
  await session.close()
  const texts = schemaOf('texts', { id: 'text', v: 'text', b: 'bytea' }, ['id'])
  const next = await openMysqlSink(db, [texts], { first: [texts] })
  await put(next, '4', batch(texts, c(["é'\\", '"漢😀\\n', '\\x00ff27'])))
  const [row] = await db.query('SET NAMES utf8mb4; SELECT HEX(id) AS id, HEX(v) AS v, HEX(b) AS b FROM texts')
  const hex = (text: string) => Buffer.from(text).toString('hex').toUpperCase()
  t.same(row, { id: hex("é'\\"), v: hex('"漢😀\\n'), b: '00FF27' })
  await next.close()
})

each('a pipeline may not write into the tables that it captures', async (t, db, kind) => {
  const [facts] = await db.query('SELECT @@server_id AS id, @@hostname AS host, @@port AS port')
  const uuid = kind === 'mariadb' ? null : (await db.query('SELECT @@server_uuid AS u'))[0]!.u
  const source = { server: uuid ?? `${facts!.id}@${facts!.host}:${facts!.port}` }
  const mine = { ...items(), namespace: db.name, id: `${db.name}.items` as TableSchema['id'] }
  const error = await failure(openMysqlSink(db, [mine], { source, captured: [mine] }))
  t.equal(error.code, 'sink.target_is_source')
  const other = schemaOf('items', { id: 'integer' }, ['id'], { namespace: 'b', id: 'b.items' as TableSchema['id'] })
  t.equal((await failure(openMysqlSink(db, [items(), other], { pipeline: 'q' }))).code, 'sink.target_shared')
  const own = schemaOf('checkpoint', { id: 'integer' }, ['id'])
  t.equal((await failure(openMysqlSink(db, [own], { pipeline: 'q' }))).code, 'sink.target_shared')
  const twice = schemaOf('two', { id: 'integer', Name: 'text', name: 'text' }, ['id'])
  t.equal((await failure(openMysqlSink(db, [twice], { pipeline: 'q' }))).code, 'sink.name_conflict')
})

each('a target that was written and is gone, or is another table now, stops the pipeline', async (t, db) => {
  const table = items()
  const session = await openMysqlSink(db, [table])
  await put(session, '1', batch(table, c(['1', 'a', null])))
  await db.query(
    'RENAME TABLE items TO old; CREATE TABLE items (id INT PRIMARY KEY, name LONGTEXT, body LONGTEXT) ENGINE = InnoDB',
  )
  const meanwhile = await failure(put(session, '2', batch(table, c(['2', 'b', null]))))
  t.equal(meanwhile.code, 'sink.target_recreated', 'compared inside the transaction')
  await session.close()
  t.same(await rows(db), [])
  t.equal((await failure(openMysqlSink(db, [table]))).code, 'sink.target_recreated')
  const checked = await mysqlSink.check(sinkOptions(db) as never, { pipeline: 'p', signal, tables: [table] })
  t.match(checked.find((f) => f.level === 'problem')?.message, /is not what this pipeline has written to/)
  await db.query('DROP TABLE items')
  t.equal((await failure(openMysqlSink(db, [table]))).code, 'sink.target_gone')
  await db.query('RENAME TABLE old TO items; ALTER TABLE items ADD COLUMN more INT')
  await (await openMysqlSink(db, [table])).close()
})

each('a column added to the source shows its default in older rows', async (t, db, kind) => {
  const table = items()
  const session = await openMysqlSink(db, [table])
  await put(session, '1', batch(table, c(['1', 'a', null]), c(['2', 'b', null])))
  await session.close()
  const wider = schemaOf('items', { id: 'integer', name: 'text', body: 'text', n: 'integer', s: 'text' }, ['id'])
  const columns = wider.columns.map((col) =>
    col.name === 'n'
      ? { ...col, filled: '5' }
      : col.name === 's' && kind !== 'mysql56'
        ? { ...col, filled: "it's" }
        : col,
  )
  const now = { ...wider, columns, fingerprint: `${wider.fingerprint}f` }
  const missing = await failure(openMysqlSink(db, [now]))
  t.equal(missing.code, 'sink.column_missing')
  await db.query('ALTER TABLE items ADD COLUMN n INT NULL, ADD COLUMN s LONGTEXT NULL')
  const unfilled = await failure(openMysqlSink(db, [now]))
  t.equal(unfilled.code, 'sink.column_unfilled')
  await db.query('ALTER TABLE items DROP COLUMN n, DROP COLUMN s')
  await db.query(missing.fix!)
  const next = await openMysqlSink(db, [now])
  await put(next, '2', batch(now, c(['3', 'c', null, '6', 'x'])))
  const s = kind === 'mysql56' ? '' : "it's"
  t.same(await rows(db), [`1|a||5|${s}`, `2|b||5|${s}`, '3|c||6|x'])
  await next.close()
})

each('check: what will be made, and which rights are missing', async (t, db, kind) => {
  const findings = await mysqlSink.check(sinkOptions(db) as never, { pipeline: 'p', signal, tables: [items()] })
  t.same(
    findings.filter((f) => f.level === 'problem'),
    [],
  )
  t.match(findings.map((f) => f.message).join('\n'), /will be created: CREATE TABLE IF NOT EXISTS/)
  t.match(findings.map((f) => f.message).join('\n'), /exactly-once/)
  if (kind === 'mysql56') return
  const url = db.captureUrl.replace(/\/?$/, `/${db.name}`)
  const limited = await mysqlSink.check(sinkOptions(db, { url }) as never, { pipeline: 'p', signal, tables: [items()] })
  t.match(limited.find((f) => f.level === 'problem')?.fix, /GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON/)
  const user = new URL(url).username
  await db.query(`REVOKE ALL PRIVILEGES, GRANT OPTION FROM ${user}`)
  await db.query(`GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON ${db.name}.* TO ${user}`)
  const granted = { ...db, url }
  const session = await openMysqlSink(granted, [items()])
  await put(session, '1', batch(items(), c(['1', 'a', null])), truncate(items()), batch(items(), c(['2', 'b', null])))
  await session.close()
  await (await openMysqlSink(granted, [items()])).close()
  t.same(await rows(db), ['2|b|'], 'the documented grants suffice')
})

await Promise.all(running)
