/** The postgres sink on real servers: what it writes, which targets it takes, and types. */
import t, { type Test } from 'tap'
import { TidemarkError } from '../../core/errors.js'
import type { TableSchema } from '../../core/model.js'
import { postgresSink } from '../../sinks/postgres/index.js'
import { createDatabase, type PostgresVersion, type TestDatabase } from '../support/postgres.js'
import { batch, change, openSink, put, schemaOf, signal, truncate, typeOf } from '../support/postgres-sink.js'

const { r, c, u, d } = change
const U = undefined
const VERSIONS: readonly PostgresVersion[] = ['15', '18']

const items = () => schemaOf('items', { id: 'integer', name: 'text', body: 'text' }, ['id'])

async function rows(db: TestDatabase, table = 'items'): Promise<string[]> {
  const found = await db.query(`SELECT x::text AS row FROM public."${table}" x ORDER BY 1`)
  return found.map((row) => row.row!)
}

async function failure(promise: Promise<unknown>): Promise<TidemarkError> {
  const thrown = await promise.then(
    () => null,
    (error: unknown) => error,
  )
  if (thrown instanceof TidemarkError) return thrown
  throw thrown ?? new Error('it did not fail')
}

async function each(name: string, test: (t: Test, db: TestDatabase) => Promise<void>): Promise<void> {
  for (const version of VERSIONS) {
    await t.test(`${name} (PostgreSQL ${version})`, async (t) => test(t, await createDatabase(t, { version })))
  }
}

await each('writes, commits and reads its checkpoint back', async (t, db) => {
  const table = items()
  const session = await openSink(db.url, [table])
  t.equal(session.checkpoint, null)
  await session.write([batch(table, r(['1', 'a', 'x']), r(['2', "b'\\\t\n", null]))], { signal })
  await session.write([batch(table, c(['3', '\\N', '']))], { signal })
  t.same(await rows(db), [], 'nothing is visible before the commit')
  await session.commit(`{"n":"1'\\\\"}`, { signal })
  t.same(await rows(db), ['(1,a,x)', `(2,"b'\\\\\t\n",)`, '(3,"\\\\N","")'])
  await session.commit('{"n":2}', { signal })
  await session.close()
  const again = await openSink(db.url, [table])
  t.equal(again.checkpoint, '{"n":2}')
  await again.close()
  const options = postgresSink.options.parse({ url: db.url })
  const context = { pipeline: 'p', signal }
  t.equal(await postgresSink.readCheckpoint(options, context), '{"n":2}')
  t.same(await postgresSink.drop(options, context), ['checkpoint of pipeline p in tidemark.checkpoint'])
  t.same(await postgresSink.drop(options, context), [])
  t.equal(await postgresSink.readCheckpoint(options, context), null)
})

await each('one batch ends as its changes do one after the other', async (t, db) => {
  const table = items()
  const session = await openSink(db.url, [table])
  const cases: [string, ReturnType<typeof c>[], string[]][] = [
    [
      'swap of two keys',
      [u(['9', U, U], ['1', U, U]), u(['1', U, U], ['2', U, U]), u(['2', U, U], ['9', U, U])],
      ['(1,b,B)', '(2,a,A)'],
    ],
    [
      'swap by split moves',
      [d(['1', U, U]), c(['9', 'a', 'A']), d(['2', U, U]), c(['1', 'b', 'B']), d(['9', U, U]), c(['2', 'a', 'A'])],
      ['(1,b,B)', '(2,a,A)'],
    ],
    [
      'move, then insert the old key',
      [u(['3', 'm', U], ['1', U, U]), c(['1', 'new', 'n'])],
      ['(1,new,n)', '(2,b,B)', '(3,m,A)'],
    ],
    ['delete and insert again', [d(['1', U, U]), c(['1', 'again', null])], ['(1,again,)', '(2,b,B)']],
    ['insert, partial update', [c(['3', 'c', 'C']), u(['3', 'cc', U])], ['(1,a,A)', '(2,b,B)', '(3,cc,C)']],
    ['two partial updates', [u(['1', 'a2', U]), u(['1', U, 'A2']), u(['1', 'a3', U])], ['(1,a3,A2)', '(2,b,B)']],
    ['partial update, delete', [u(['1', 'a2', U]), d(['1', U, U])], ['(2,b,B)']],
    ['partial update, move', [u(['1', 'a2', U]), u(['3', U, U], ['1', U, U])], ['(2,b,B)', '(3,a2,A)']],
    [
      'a chain of moves',
      [u(['3', U, U], ['2', U, U]), u(['2', U, U], ['1', U, U]), u(['4', U, 'x'], ['3', U, U])],
      ['(2,a,A)', '(4,b,x)'],
    ],
    [
      'insert, move with unsent',
      [c(['5', 'e', 'E']), u(['6', 'f', U], ['5', U, U])],
      ['(1,a,A)', '(2,b,B)', '(6,f,E)'],
    ],
    ['delete, move onto it', [d(['2', U, U]), u(['2', U, U], ['1', U, U])], ['(2,a,A)']],
    ['read of a row that is there', [r(['1', 'read', 'R'])], ['(1,read,R)', '(2,b,B)']],
    ['delete of a row that is not there', [d(['77', U, U])], ['(1,a,A)', '(2,b,B)']],
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

await each('an update with unsent values of a row that is not there stops, naming it', async (t, db) => {
  const table = items()
  for (const changes of [
    [u(['1', 'x', U]), u(['7', 'x', U])],
    [d(['1', U, U]), u(['7', 'x', U])],
    [u(['8', 'x', U], ['7', U, U])],
  ]) {
    await db.query('DROP TABLE IF EXISTS public.items; DROP SCHEMA IF EXISTS tidemark CASCADE')
    const session = await openSink(db.url, [table])
    await put(session, '1', batch(table, c(['1', 'a', 'A'])))
    const error = await failure(put(session, '2', batch(table, ...changes)))
    t.equal(error.code, 'sink.row_missing')
    t.match(error.message, /"public"\."items".*"id" = 7/)
    await session.close()
    t.same(await rows(db), ['(1,a,A)'], 'nothing of the batch is visible')
  }
})

await each('large batches of reads go in and survive keys that are there', async (t, db) => {
  const table = items()
  const session = await openSink(db.url, [table])
  const many = (from: number, to: number, name: string) =>
    Array.from({ length: to - from }, (_, i) => r([String(from + i), name, null]))
  await put(session, '1', batch(table, ...many(0, 1000, 'a')))
  await put(session, '2', batch(table, ...many(500, 1500, 'b')), batch(table, ...many(1500, 2500, 'c')))
  const [count] = await db.query("SELECT count(*) n, count(*) FILTER (WHERE name = 'a') a FROM items")
  t.same(count, { n: '2500', a: '500' })
  await session.close()
})

await each('truncate empties the table and forgets what came before it', async (t, db) => {
  const table = items()
  const session = await openSink(db.url, [table])
  await put(session, '1', batch(table, c(['1', 'a', null])))
  await put(session, '2', batch(table, c(['2', 'b', null])), truncate(table), batch(table, c(['3', 'c', null])))
  t.same(await rows(db), ['(3,c,)'])
  await session.close()
})

await each('tables without a key: rows are found by all their values', async (t, db) => {
  const table = schemaOf(
    'log',
    { a: 'integer', b: 'text', j: typeOf('json', { kind: 'json' }), f: 'double precision' },
    [],
  )
  const session = await openSink(db.url, [table])
  const row = (a: string, b: string | null, j: string | null = '{"x": 1}') => [a, b, j, '-0']
  await put(session, '1', batch(table, c(row('1', 'x')), c(row('1', 'x')), c(row('1', null)), c(row('2', 'x ', null))))
  await put(
    session,
    '2',
    batch(table, d(row('1', 'x')), u(row('1', 'y'), row('1', null)), u(row('3', 'z'), row('2', 'x ', null))),
  )
  t.same(await rows(db, 'log'), ['(1,x,"{""x"": 1}",-0)', '(1,y,"{""x"": 1}",-0)', '(3,z,"{""x"": 1}",-0)'])
  const error = await failure(put(session, '3', batch(table, d(row('1', 'x', '{"x":1}')))))
  t.equal(error.code, 'sink.row_missing')
  await session.close()
})

await each('keys that are equal under different texts stay one row', async (t, db) => {
  await db.query(`CREATE COLLATION public.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE EXTENSION IF NOT EXISTS citext`)
  const text = (native: string, more = {}) => ({ id: typeOf(native, more), name: 'text', body: 'text' })
  const tables = [
    schemaOf('by_collation', text('text', { collation: 'public.ci' }), ['id']),
    schemaOf('by_citext', text('public.citext', { kind: 'other', base: 'citext' }), ['id']),
    schemaOf('by_numeric', text('numeric'), ['id']),
  ] as const
  const session = await openSink(db.url, tables)
  for (const table of tables) {
    const [one, same] = table.name === 'by_numeric' ? ['1.0', '1.00'] : ['Ab', 'aB']
    await put(session, '1', batch(table, c([one, 'a', 'A']), u([one, 'a2', U]), u([one, 'a3', U])))
    await put(session, '2', batch(table, d([one, U, U]), c([same, 'b', 'B'])))
    t.same(await rows(db, table.name), [`(${same},b,B)`])
    await put(session, '3', batch(table, u([one, U, 'C'], [same, U, U]), u([one, 'c', U])))
    t.same(await rows(db, table.name), [`(${one},c,C)`])
    await put(session, '4', batch(table, d([one, U, U]), u(['5', 'x', 'y'], null), u([same, U, U], ['5', U, U])))
    t.same(await rows(db, table.name), [`(${same},x,y)`])
  }
  await session.close()
})

await each('a target whose key is coarser than the source key is refused', async (t, db) => {
  await db.query(`CREATE COLLATION public.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE TABLE items (id text COLLATE ci PRIMARY KEY)`)
  const error = await failure(openSink(db.url, [schemaOf('items', { id: 'text' }, ['id'])]))
  t.equal(error.code, 'sink.key')
  t.equal(error.fix, 'ALTER TABLE "public"."items" ALTER COLUMN "id" TYPE text COLLATE "C";')
})

await each('a refused row is named', async (t, db) => {
  await db.query('CREATE TABLE items (id int PRIMARY KEY, name text, body text CHECK (body <> $$bad$$))')
  const table = items()
  for (const count of [3, 500]) {
    const session = await openSink(db.url, [table], { first: [table], existing: 'truncate' })
    const changes = Array.from({ length: count }, (_, i) => u([String(i), 'n', i === 2 ? 'bad' : 'fine']))
    const error = await failure(put(session, '1', batch(table, ...changes)))
    t.equal(error.code, 'sink.rejected')
    t.match(error.message, /"public"\."items".*row with "id" = 2$/)
    await session.close()
  }
  t.same(await rows(db), [])
})

await each('targets are made with the same types and only the key', async (t, db) => {
  await db.query('CREATE SCHEMA elsewhere; CREATE EXTENSION hstore SCHEMA elsewhere')
  const mood = typeOf('shop.mood', { kind: 'enum', labels: ['sad', "o'k"], base: 'mood' })
  const table = schemaOf(
    'Odd "T"',
    {
      'the Id': 'bigint',
      mood,
      moods: typeOf('shop.mood[]', { kind: 'array', element: mood }),
      mail: typeOf('text', { domain: 'shop."E mail"' }),
      amount: typeOf('numeric(18,4)', { kind: 'decimal', precision: 18, scale: 4 }),
      free: 'numeric',
      h: typeOf('public.hstore', { kind: 'hstore', base: 'hstore' }),
      tags: 'character varying(5)[]',
      at: 'timestamp(3) with time zone',
      span: 'interval',
      bin: 'bytea',
      c: 'character(3)',
      r: 'int4range',
      bits: 'bit(3)',
      f: 'double precision',
      cash: 'money',
      ip: 'inet',
      j: 'jsonb',
      ts: 'tsvector',
      x: 'xml',
    },
    ['the Id'],
  )
  const session = await openSink(db.url, [table])
  const values = [
    [
      '1',
      'sad',
      `{sad,o'k,NULL}`,
      'a@b',
      '1.5000',
      'NaN',
      '"a"=>"1", "b"=>NULL',
      '{abc,"d,e",NULL}',
      '2024-02-29 12:00:00.123+00',
      'P1Y2M3DT4H5M6.5S',
      '\\x00ff5c',
      'a  ',
      '[1,5)',
      '101',
      '-0',
      '$1.00',
      '10.0.0.1',
      '{"a": [1.50]}',
      "'cat':1 'fat':2",
      '<a/>',
    ],
    [
      '2',
      null,
      '{}',
      '',
      '-99999999999999.9999',
      '-Infinity',
      '',
      '{{a,b},{c,d}}',
      'infinity',
      'P0Y',
      '\\x',
      '',
      'empty',
      '000',
      'NaN',
      '-$0.01',
      '::1/64',
      '"\\u0001"',
      '',
      'text',
    ],
    [
      '3',
      "o'k",
      null,
      'x\ty',
      '0.0001',
      '123456789012345678901234567890.12345678901234567890',
      null,
      null,
      '0044-03-15 00:00:00+00 BC',
      'P-1D',
      null,
      'abc',
      null,
      null,
      '5e-324',
      null,
      null,
      'null',
      null,
      null,
    ],
  ]
  await put(session, '1', batch(table, ...values.slice(0, 2).map(r)), batch(table, c(values[2]!)))
  const text = async () =>
    (
      await db.query(
        'SET intervalstyle = iso_8601; SET timezone = UTC; SET lc_monetary = "C"; SELECT whole::text AS row FROM "Odd ""T""" whole ORDER BY "the Id"',
      )
    ).map((v) => v.row)
  const copied = await text()
  // The same through the other way in: unnest instead of COPY and back.
  await put(session, '2', truncate(table), batch(table, ...values.map(c)))
  t.same(await text(), copied)
  const filler = Array.from({ length: 300 }, (_, i) => r([String(i + 10), ...values[1]!.slice(1)]))
  await put(session, '3', truncate(table), batch(table, ...values.map(r), ...filler))
  t.same((await text()).slice(0, 3), copied, 'through COPY')
  await session.close()
  t.equal(
    copied[0],
    `(1,sad,"{sad,o'k,NULL}",a@b,1.5000,NaN,"""a""=>""1"", ""b""=>NULL","{abc,""d,e"",NULL}","2024-02-29 12:00:00.123+00",P1Y2M3DT4H5M6.5S,"\\\\x00ff5c","a  ","[1,5)",101,-0,$1.00,10.0.0.1,"{""a"": [1.50]}","'cat':1 'fat':2",<a/>)`,
  )
  const types = await db.query(
    `SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull FROM pg_attribute WHERE attrelid = '"Odd ""T"""'::regclass AND attnum > 0 ORDER BY attnum`,
  )
  t.same(
    types.slice(0, 5).map((c) => [c.type, c.attnotnull]),
    [
      ['bigint', 't'],
      ['shop.mood', 'f'],
      ['shop.mood[]', 'f'],
      ['shop."E mail"', 'f'],
      ['numeric(18,4)', 'f'],
    ],
  )
  t.equal(types[6]!.type, 'elsewhere.hstore')
  const again = await openSink(db.url, [table])
  await again.close()
})

await each('a missing extension and a missing enum label are named with their statement', async (t, db) => {
  const withType = (type: ReturnType<typeof typeOf>) => schemaOf('e', { id: 'integer', v: type }, ['id'])
  const h = await failure(openSink(db.url, [withType(typeOf('public.hstore', { kind: 'hstore', base: 'hstore' }))]))
  t.equal(h.code, 'sink.type_missing')
  t.equal(h.fix, 'CREATE EXTENSION "hstore";')
  await db.query("CREATE TYPE mood AS ENUM ('a')")
  const mood = (labels: string[]) => withType(typeOf('public.mood', { kind: 'enum', base: 'mood', labels }))
  const e = await failure(openSink(db.url, [mood(['a', 'b'])]))
  t.equal(e.fix, "ALTER TYPE public.mood ADD VALUE 'b';")
})

await each('a label that the source renamed is renamed, so that old rows follow', async (t, db) => {
  await db.query("CREATE TYPE mood AS ENUM ('a', 'm', 'z')")
  const mood = (labels: string[]) =>
    schemaOf('e', { id: 'integer', v: typeOf('public.mood', { kind: 'enum', base: 'mood', labels }) }, ['id'])
  const before = mood(['a', 'm', 'z'])
  const session = await openSink(db.url, [before])
  await put(session, '1', batch(before, c(['1', 'a']), c(['2', 'm'])))
  await session.close()
  const renamed = mood(["o'b", 'm', 'y', 'z'])
  const e = await failure(openSink(db.url, [renamed]))
  t.equal(e.fix, "ALTER TYPE public.mood RENAME VALUE 'a' TO 'o''b'; ALTER TYPE public.mood ADD VALUE 'y' BEFORE 'z';")
  await db.query(e.fix!)
  const again = await openSink(db.url, [renamed])
  await put(again, '2', batch(renamed, c(['3', 'y'])))
  await again.close()
  t.same(await rows(db, 'e'), ["(1,o'b)", '(2,m)', '(3,y)'])
  const labels = await db.query('SELECT enum_range(null::public.mood)::text AS all')
  t.equal(labels[0]!.all, "{o'b,m,y,z}")
})

await each('tables whose names statements use themselves', async (t, db) => {
  for (const name of ['excluded', 't', 'u', 'hit', 'k']) {
    const table = schemaOf(name, { t: 'integer', excluded: 'text', u: 'text', k0: 'text' }, ['t'])
    const session = await openSink(db.url, [table])
    await put(session, '1', batch(table, c(['1', 'a', 'x', 'y']), c(['2', 'b', 'x', 'y'])))
    await put(session, '2', batch(table, u(['1', 'A', 'X', 'y']), u(['3', 'b', U, 'y'], ['2', U, U, U])))
    await put(session, '3', batch(table, u(['1', U, 'XX', U])), batch(table, d(['3', U, U, U])))
    await session.close()
    t.same(await rows(db, name), ['(1,A,XX,y)'], name)
    await db.query('DROP SCHEMA tidemark CASCADE')
  }
  const whole = schemaOf('hit', { hit: 'integer', t: 'text' }, [])
  await db.query('DROP TABLE hit')
  const session = await openSink(db.url, [whole])
  await put(session, '1', batch(whole, c(['1', 'a']), c(['1', 'a'])))
  await put(session, '2', batch(whole, u(['2', 'b'], ['1', 'a'])))
  await session.close()
  t.same(await rows(db, 'hit'), ['(1,a)', '(2,b)'])
})

await each('existing targets: what does not fit is refused with its statement', async (t, db) => {
  const table = schemaOf(
    'items',
    { id: 'integer', name: 'character varying(20)', price: typeOf('numeric(10,2)', { kind: 'decimal' }) },
    ['id'],
  )
  const refusals: [string, string, RegExp | string][] = [
    [
      'CREATE TABLE items (id int PRIMARY KEY, name text)',
      'sink.column_missing',
      'ALTER TABLE "public"."items" ADD COLUMN "price" numeric(10,2);',
    ],
    [
      'CREATE TABLE items (id int PRIMARY KEY, name varchar(10), price numeric)',
      'sink.column_type',
      'ALTER TABLE "public"."items" ALTER COLUMN "name" TYPE character varying(20);',
    ],
    [
      'CREATE TABLE items (id int PRIMARY KEY, name text, price numeric(10,1))',
      'sink.column_type',
      /"price" TYPE numeric\(10,2\)/,
    ],
    [
      'CREATE TABLE items (id int, name text, price numeric)',
      'sink.key',
      'ALTER TABLE "public"."items" ADD PRIMARY KEY ("id");',
    ],
    ['CREATE TABLE items (id int, name text, price numeric, PRIMARY KEY (id, name))', 'sink.key', /ADD PRIMARY KEY/],
    ['CREATE TABLE items (id int PRIMARY KEY DEFERRABLE, name text, price numeric)', 'sink.key', /ADD PRIMARY KEY/],
    [
      'CREATE TABLE items (id int PRIMARY KEY, name text UNIQUE, price numeric)',
      'sink.constraints',
      /target\.constraints: allow/,
    ],
    [
      'CREATE TABLE other (id int PRIMARY KEY); CREATE TABLE items (id int PRIMARY KEY REFERENCES other, name text, price numeric)',
      'sink.constraints',
      /allow/,
    ],
    [
      'CREATE TABLE items (id int PRIMARY KEY, name text, price numeric); CREATE TRIGGER tr BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
      'sink.constraints',
      /allow/,
    ],
    [
      'CREATE TABLE items (id int PRIMARY KEY, name text, price numeric, more int NOT NULL)',
      'sink.column_unwritable',
      /"more" DROP NOT NULL/,
    ],
    [
      'CREATE TABLE items (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, price numeric)',
      'sink.column_unwritable',
      /SET GENERATED BY DEFAULT/,
    ],
    ['CREATE UNLOGGED TABLE items (id int PRIMARY KEY, name text, price numeric)', 'sink.target_kind', /SET LOGGED/],
    ['CREATE VIEW items AS SELECT 1 AS id', 'sink.target_kind', /route/],
    [
      "CREATE TABLE items (id int PRIMARY KEY, name text, price numeric); INSERT INTO items VALUES (1, 'x', 1)",
      'sink.target_not_empty',
      /existing: truncate/,
    ],
  ]
  for (const [ddl, code, fix] of refusals) {
    await db.query(`${ddl}`)
    const error = await failure(openSink(db.url, [table]))
    t.equal(error.code, code, ddl)
    t.match(error.fix, fix, ddl)
    const findings = await postgresSink.check(postgresSink.options.parse({ url: db.url }), {
      pipeline: 'p',
      signal,
      tables: [table],
    })
    t.match(findings.find((f) => f.level === 'problem')?.fix, fix, `check: ${ddl}`)
    await db.query(`DROP ${ddl.includes('VIEW') ? 'VIEW' : 'TABLE'} items; DROP TABLE IF EXISTS other`)
  }
  await db.query(
    "CREATE TABLE items (id bigint PRIMARY KEY, name varchar(30) UNIQUE, price numeric, more int DEFAULT 7); INSERT INTO items VALUES (1, 'x', 1), (2, 'y', 2)",
  )
  const session = await openSink(db.url, [table], { existing: 'upsert', 'target.constraints': 'allow' })
  await put(session, '1', batch(table, r(['1', 'z', '1.50'])))
  t.same(await rows(db), ['(1,z,1.50,7)', '(2,y,2,7)'])
  await session.close()
  const emptied = await openSink(db.url, [table], {
    existing: 'truncate',
    'target.constraints': 'allow',
    pipeline: 'other',
  })
  t.same(await rows(db), [])
  await emptied.close()
})

await each('a pipeline may not write into the tables that it captures', async (t, db) => {
  const [id] = await db.query('SELECT system_identifier AS id FROM pg_control_system()')
  const source = { systemIdentifier: id!.id!, database: db.name }
  await db.query(
    'CREATE TABLE items (id int PRIMARY KEY, name text, body text) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF items DEFAULT',
  )
  const part = schemaOf('part', { id: 'integer', name: 'text', body: 'text' }, ['id'])
  for (const table of [items(), part]) {
    const error = await failure(openSink(db.url, [table], { source, captured: [items()] }))
    t.equal(error.code, 'sink.target_is_source')
  }
  const session = await openSink(db.url, [items()], { source, captured: [items()], schema: 'copy' })
  await put(session, '1', batch(items(), c(['1', 'a', null])))
  t.equal((await db.query('SELECT * FROM copy.items')).length, 1)
  await session.close()
  const other = schemaOf('items', { id: 'integer' }, ['id'], { namespace: 'b', id: 'b.items' as TableSchema['id'] })
  const shared = await failure(openSink(db.url, [items(), other], { schema: 'copy', pipeline: 'q' }))
  t.equal(shared.code, 'sink.target_shared')
})

await each('a target that was written and is gone stops the pipeline', async (t, db) => {
  const table = items()
  const session = await openSink(db.url, [table])
  await put(session, '1', batch(table, c(['1', 'a', null])))
  await session.close()
  await db.query('DROP TABLE items')
  t.equal((await failure(openSink(db.url, [table]))).code, 'sink.target_gone')
})

await each('check: an empty database is ready and says what will be made', async (t, db) => {
  const options = postgresSink.options.parse({ url: db.url })
  const findings = await postgresSink.check(options, { pipeline: 'p', signal, tables: [items()] })
  t.same(
    findings.filter((f) => f.level === 'problem'),
    [],
  )
  t.match(findings.map((f) => f.message).join('\n'), /will be created: CREATE TABLE "public"."items"/)
  t.match(findings.map((f) => f.message).join('\n'), /exactly-once/)
  await db.query(`CREATE ROLE ${db.name}_r LOGIN`)
  t.teardown(() => db.query(`DROP OWNED BY ${db.name}_r; DROP ROLE ${db.name}_r`).then(() => {}))
  const url = db.url.replace('postgres@', `${db.name}_r@`)
  await db.query('CREATE TABLE items (id int PRIMARY KEY, name text, body text)')
  const limited = await postgresSink.check(postgresSink.options.parse({ url }), {
    pipeline: 'p',
    signal,
    tables: [items()],
  })
  const fixes = limited.flatMap((f) => (f.level === 'problem' ? [f.fix] : [])).join('\n')
  t.match(fixes, /GRANT CREATE ON DATABASE/)
  t.match(fixes, /GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON "public"\."items"/)
})
