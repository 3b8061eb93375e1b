/** Every kind of key through snapshot and stream at once, under writers that insert, update, delete and move keys. */
import t from 'tap'
import { describeDifference, tableDifference } from '../support/oracle.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { random, testSeed } from '../support/seed.js'

interface KeyCase {
  readonly name: string
  /** Columns and constraints; `i` in `key` is a number from 1. */
  readonly columns: string
  readonly key: string
  readonly setup?: string
  readonly after?: string
}

const CASES: readonly KeyCase[] = [
  {
    name: 'T22 k_en',
    columns: 'k text collate "en_US.utf8" primary key',
    key: `(case when i % 2 = 0 then 'Ä' else 'b_' end) || chr(97 + i % 26) || i`,
  },
  {
    name: 'T22 k_sv',
    columns: 'k text collate "sv_SE.utf8" primary key',
    key: `(array['å','ä','ö','z','V','w'])[1 + i % 6] || i`,
  },
  {
    name: 'T22 k_de',
    columns: 'k varchar(40) collate "de_DE.utf8" primary key',
    key: `(array['ß','ss','SS','s-s'])[1 + i % 4] || i`,
  },
  {
    name: 'T22 k_icu',
    setup: `create collation ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
    columns: 'k text collate ci primary key',
    key: `(case when i % 2 = 0 then 'Key' else 'kEY' end) || i`,
  },
  {
    name: 'T23 k_c',
    columns: 'k text collate "C" primary key',
    key: `chr(case when i % 2 = 0 then 65280 + i % 200 else 65536 + i % 2000 end) || i`,
  },
  { name: 'T24 k_bytea', columns: 'k bytea primary key', key: `decode(md5(i::text) || '0000', 'hex')` },
  { name: 'T25 k_uuid', columns: 'k uuid primary key', key: 'md5(i::text)::uuid' },
  {
    name: 'T26 k_big',
    columns: 'k bigint primary key',
    key: `case i % 3 when 0 then 9223372036854775807 - i when 1 then 9007199254740992 + i else -i end`,
  },
  { name: 'T26 k_num', columns: 'k numeric(38,0) primary key', key: `(i * 1e30)::numeric(38,0) + i` },
  {
    name: 'T37 k_dec',
    columns: 'k numeric primary key',
    key: `case i when 1 then 'NaN'::numeric when 2 then '-Infinity' else i / 7.0 end`,
  },
  {
    name: 'T29 k_comp',
    columns: 'a int, k text, c date, primary key (a, k, c)',
    key: `'same' || i`,
    after: `alter table k_comp alter a set default 7, alter c set default '2024-02-29'`,
  },
  {
    name: 'T30 k_skew',
    columns: 'k bigint primary key',
    key: `case when i % 500 = 0 then i + 1000000000000 else i end`,
  },
  {
    name: 'T37 k_enum',
    setup: `create type mood as enum ('z', 'a', 'm')`,
    columns: 'e mood, k int, primary key (e, k)',
    key: 'i',
    after: `alter table k_enum alter e set default 'a'`,
  },
  {
    name: 'T37 k_ts',
    columns: 'k timestamptz primary key',
    key: `'0100-01-01 BC'::timestamptz + i * interval '9 months 0.000001 s'`,
  },
  { name: 'T36 "Odd.na""me %_"', columns: 'k int primary key', key: 'i' },
  { name: 'T38 k_empty', columns: 'k int primary key', key: 'i' },
  {
    name: '1.10 h k_index',
    columns: 'id int primary key, k text not null unique',
    key: `'mail' || i`,
    after: `alter table k_index replica identity using index k_index_k_key; create sequence sq; alter table k_index alter id set default nextval('sq')`,
  },
  { name: 'partitions k_part', columns: 'k int primary key', key: 'i', setup: '' },
  { name: 'T31 T32 k_none', columns: 'k int', key: 'i % 50', after: 'alter table k_none replica identity full' },
]

const ROWS = 1_500
const ROUNDS = 40

t.test('keys of every kind: T22 T23 T24 T25 T26 T29 T30 T31 T32 T33 T34 T36 T37 T38', async (t) => {
  const seed = testSeed()
  t.comment(`TIDEMARK_SEED=${seed}`)
  const numbers = random(seed)
  const source = await createDatabase(t, { version: '15' })
  const target = await createDatabase(t, { version: '15' })
  const tables = CASES.map(({ name }) => name.replace(/^.* (?=k_|")/, ''))
  for (const [i, { columns, key, setup, after }] of CASES.entries()) {
    const table = tables[i]!
    if (setup) await source.query(setup)
    const partitioned = table === 'k_part'
    await source.query(`create table ${table} (${columns}, v text) ${partitioned ? 'partition by range (k)' : ''}`)
    if (partitioned) await source.query(`create table p1 partition of k_part for values from (minvalue) to (700)`)
    if (partitioned) await source.query(`create table p2 partition of k_part for values from (700) to (maxvalue)`)
    if (after) for (const statement of after.split(';')) await source.query(statement)
    const rows = table === 'k_empty' ? 0 : ROWS
    await source.query(`insert into ${table} (k, v) select ${key}, 'first' from generate_series(1, ${rows}) i`)
  }
  const pipeline = writePipeline(t, {
    source: {
      type: 'postgres',
      url: source.url,
      tables: 'public.k_*, public."Odd.na""me %_"',
      'scan.incremental.snapshot.chunk.size': 100,
      'no-primary-key': 'full-row',
    },
    sink: { type: 'postgres', url: target.url },
    pipeline: { name: source.name, 'checkpoint.interval': '50ms' },
  })
  let sync = startTidemark(t, ['sync', pipeline.file])
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, { key }] of CASES.entries()) {
      const table = tables[i]!
      const pick = (n: number) => `ctid = any (array(select ctid from ${table} order by random() limit ${n}))`
      const from = 2_000 + round * 10
      await source.query(
        `insert into ${table} (k, v) select ${key}, 'late' from generate_series(${from}, ${from + 5}) i`,
      )
      await source.query(`update ${table} set v = v || '.' where v < 'm' and ${pick(20)}`)
      await source.query(`delete from ${table} where ${pick(2)}`)
      if (table === 'k_none') continue
      // A key moves; most often into another chunk.
      const moved = key.replaceAll(/\bi\b/g, `(${5_000 + round * 10}::int)`)
      await source.query(
        `update ${table} set k = ${moved} where (tableoid, ctid) = (select tableoid, ctid from ${table} order by random() limit 1)`,
      )
    }
    if (round % 15 === 14) {
      await sync.kill()
      sync = startTidemark(t, ['sync', pipeline.file])
    }
    if (numbers.below(10) === 0) {
      await source.query(
        `begin; update k_part set k = -1 where k = (select min(k) from k_part where k > 0); update k_part set k = -2 where k = (select max(k) from k_part); delete from k_part where k < 0; commit`,
      )
    }
  }
  await sync.kill()
  const last = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
  t.equal(last.code, 0, last.stderr)
  for (const [i, { name }] of CASES.entries()) {
    const table = `public.${tables[i]}`
    const difference = await tableDifference({ db: source, table }, { db: target, table })
    t.equal(difference, null, `${name}: ${describeDifference(difference)}`)
  }
})
