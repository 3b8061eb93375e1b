/** What happens exactly at a chunk's cut, beside it, or not at all: the process stands still between two steps meanwhile. */
import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import t, { type Test } from 'tap'
import type { StepName } from '../../core/steps.js'
import { parseLsn } from '../../drivers/postgres-lsn.js'
import { type ChangeEvent, Changelog } from '../support/changelog.js'
import { committedRows } from '../support/committed-files.js'
import { describeDifference, tableDifference } from '../support/oracle.js'
import { createDatabase, startPostgres, type TestDatabase } from '../support/postgres.js'
import { type PipelineFile, runTidemark, startTidemark, writePipeline } from '../support/process.js'

const CHUNK_ROWS = 100
/** Another process of the server may write between the mark and the commit. */
const TRIES_MAX = 5

interface Wanted {
  readonly name?: string
  readonly sink?: object
}

function pipelineOf(t: Test, source: TestDatabase, { name = source.name, sink }: Wanted = {}): PipelineFile {
  return writePipeline(t, {
    source: {
      type: 'postgres',
      url: source.url,
      tables: 'public.t',
      'scan.incremental.snapshot.chunk.size': CHUNK_ROWS,
    },
    sink: sink ?? { type: 'file', path: '{{DIR}}/out' },
    pipeline: { name, 'checkpoint.interval': '50ms', parallelism: 1 },
  })
}

/** Runs `sync --once`; while it stands still at a step, something happens in the source. */
async function onceWith(
  t: Test,
  { file }: PipelineFile,
  failpoint: { readonly step: StepName; readonly nth: number },
  meanwhile: () => Promise<unknown>,
): Promise<void> {
  const sync = startTidemark(t, ['sync', file, '--once'], { failpoint: { ...failpoint, action: 'stop' } })
  await sync.stopped()
  await meanwhile()
  sync.signal('SIGCONT')
  const { code, stderr } = await sync.exit()
  t.equal(code, 0, stderr)
}

function judged(t: Test, pipeline: PipelineFile, wanted: readonly Readonly<Record<string, string | null>>[]) {
  const text = committedRows(pipeline.path('out'))
  const log = new Changelog({ 'public.t': { key: ['id'], fullBefore: true } }).addLines(text)
  t.same(log.problems, [])
  t.same(log.differences('public.t', wanted), [])
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as ChangeEvent)
}

const insertPosition = async (db: Pick<TestDatabase, 'query'>) =>
  parseLsn((await db.query('select pg_current_wal_insert_lsn()::text as at'))[0]!.at!)

/** A source on a server where nobody else writes, and a table of 2 chunks. */
async function quiet(t: Test): Promise<TestDatabase> {
  const server = await startPostgres(t, { version: '15', settings: { autovacuum: 'off' } })
  const source = await createDatabase(t, { server })
  await source.query(`create table t (id int primary key, v text); alter table t replica identity full;
    insert into t select i, 'old' from generate_series(1, ${2 * CHUNK_ROWS}) i`)
  return source
}

/** With its slot and its first checkpoint, and nothing read. */
async function begun(t: Test, { file }: PipelineFile): Promise<void> {
  const first = await runTidemark(t, ['sync', file], { failpoint: { step: 'start.first-checkpoint' } })
  t.equal(first.signal, 'SIGKILL', first.stderr)
}

const updates = (events: readonly ChangeEvent[]) => events.filter((e) => e.op === 'u').map((e) => e.after!.id)
const mark = (events: readonly ChangeEvent[]) => BigInt(events.find((e) => e.op === 'r')!.source.lsn as number)

t.test('T5 a commit whose record begins exactly at the mark of a cut arrives once', async (t) => {
  const source = await quiet(t)
  for (let i = 1; ; i++) {
    const pipeline = pipelineOf(t, source, { name: `after_${i}` })
    await begun(t, pipeline)
    // One row of the chunk that is read under the cut, one of the chunk that still waits.
    const open = await source.connect()
    await open.query(`begin; update t set v = 'after ${i}' where id in (1, ${2 * CHUNK_ROWS})`)
    let at = 0n
    await onceWith(t, pipeline, { step: 'chunk.cut', nth: 1 }, async () => {
      at = await insertPosition(open)
      await open.query('commit')
    })
    const events = judged(t, pipeline, await source.query('select * from t'))
    t.same(updates(events), [1], 'the row under the cut changes once, the other one is read')
    if (mark(events) === at) return
    t.ok(i < TRIES_MAX, `the mark was ${mark(events)}, the commit came at ${at}`)
  }
})

t.test('T5 a commit whose record ends exactly at the mark of a cut does not come again', async (t) => {
  const source = await quiet(t)
  for (let i = 1; ; i++) {
    const pipeline = pipelineOf(t, source, { name: `before_${i}` })
    await begun(t, pipeline)
    let at = 0n
    // The chunk is open, so the log's event is held until the cut says that the row shows it.
    await onceWith(t, pipeline, { step: 'chunk.opened', nth: 1 }, async () => {
      await source.query(`update t set v = 'before ${i}' where id in (1, ${2 * CHUNK_ROWS})`)
      at = await insertPosition(source)
    })
    const events = judged(t, pipeline, await source.query('select * from t'))
    t.same(updates(events), [], 'the rows that were read show it')
    if (mark(events) === at) return
    t.ok(i < TRIES_MAX, `the mark was ${mark(events)}, the commit ended at ${at}`)
  }
})

t.test('T6 an idle table is read without log traffic, a second slot or a second replication connection', async (t) => {
  const server = await startPostgres(t, {
    version: '15',
    settings: { autovacuum: 'off', log_replication_commands: 'on', log_statement: 'all' },
  })
  const source = await createDatabase(t, { server })
  await source.query(`create table t (id int primary key, v text); alter table t replica identity full;
    insert into t select i, 'old' from generate_series(1, ${10 * CHUNK_ROWS}) i`)
  const pipeline = pipelineOf(t, source)
  const once = await runTidemark(t, ['sync', pipeline.file, '--once'])
  t.equal(once.code, 0, once.stderr)
  const events = judged(t, pipeline, await source.query('select * from t'))
  t.ok(new Set(events.map((e) => e.source.lsn)).size >= 10, 'chunks with marks of their own')
  t.same(updates(events), [])
  const log = readFileSync(server.logFile, 'utf8')
  t.equal(log.match(/received replication command: START_REPLICATION/g)?.length, 1, 'one replication connection')
  t.equal(log.match(/LOG: {2}statement: select .*pg_create_logical_replication_slot\(/g)?.length, 1, 'one slot')
  t.notMatch(log, /received replication command: CREATE_REPLICATION_SLOT/)
})

t.test('T12 columns added and dropped between two chunks: rows carry the schema they were read with', async (t) => {
  const source = await createDatabase(t, { version: '15' })
  await source.query(`create table t (id int primary key, gone text, v text); alter table t replica identity full;
    insert into t select i, 'gone', 'v' || i from generate_series(1, ${3 * CHUNK_ROWS}) i`)
  const pipeline = pipelineOf(t, source)
  await onceWith(t, pipeline, { step: 'chunk.finished', nth: 1 }, async () => {
    await source.query(`update t set v = 'wide ' || id where id in (2, ${3 * CHUNK_ROWS - 1})`)
    await source.query(`alter table t drop column gone, add column w int not null default 7`)
    await source.query(`update t set v = 'narrow ' || id, w = id where id in (1, ${3 * CHUNK_ROWS})`)
  })
  const rows = committedRows(pipeline.path('out'))
  const events = rows
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as ChangeEvent)
  const misread = events.filter(({ after }) => {
    const { id, ...rest } = after as { id: number; v: string }
    if (![`v${id}`, `wide ${id}`, `narrow ${id}`].includes(rest.v)) return true
    const w = rest.v.startsWith('narrow') ? id : 7
    return !isDeepStrictEqual(rest, 'gone' in rest ? { gone: 'gone', v: rest.v } : { v: rest.v, w })
  })
  t.same(misread, [])
  const reads = events.filter((e) => e.op === 'r')
  t.equal(reads.length, 3 * CHUNK_ROWS)
  t.equal(reads.filter((e) => 'gone' in e.after!).length, CHUNK_ROWS, 'the first chunk was read before')
  const last = new Map(events.map((e) => [e.after!.id, e.after!.v]))
  const wanted = await source.query('select id, v from t')
  t.same(
    wanted.filter(({ id, v }) => last.get(Number(id)) !== v),
    [],
  )
  t.same(updates(events), [2, 1], 'what the later chunks show is not repeated')
})

for (const { name, type, key } of [
  { name: 'planned by arithmetic', type: 'int', key: 'i' },
  { name: 'planned by steps through the index', type: 'text collate "C"', key: `lpad(i::text, 8, '0')` },
]) {
  t.test(`T27 the greatest keys are deleted between planning and reading: ${name}`, async (t) => {
    const source = await createDatabase(t, { version: '15' })
    const target = await createDatabase(t, { version: '15' })
    await source.query(`create table t (id ${type} primary key, v text);
      insert into t select ${key}, 'old' from generate_series(1, ${10 * CHUNK_ROWS}) i`)
    await source.query('analyze t')
    const sink = { type: 'postgres', url: target.url }
    // What lies in the second planned chunk goes, and all behind it; more keys come behind the greatest there ever was.
    await onceWith(t, pipelineOf(t, source, { sink }), { step: 'chunk.locked', nth: 2 }, async () => {
      await source.query(`delete from t where id > (select ${key} from (values (${CHUNK_ROWS + 50})) k(i))`)
      await source.query(
        `insert into t select ${key}, 'new' from generate_series(${20 * CHUNK_ROWS}, ${21 * CHUNK_ROWS}) i`,
      )
    })
    const difference = await tableDifference({ db: source, table: 'public.t' }, { db: target, table: 'public.t' })
    t.equal(difference, null, describeDifference(difference))
  })
}
