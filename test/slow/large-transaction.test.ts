/**
 * One transaction of 5,000,000 rows, delivered by the built program with its defaults, killed in the middle of that
 * transaction and resumed inside it: every row is there once, and neither process needed more memory than its bound (I8).
 */
import t, { type Test } from 'tap'
import { parsePosition } from '../../connectors/postgres/position.js'
import { kafkaSink } from '../../sinks/kafka/index.js'
import { committedLines, newestCheckpoint } from '../support/committed-files.js'
import { sharedKafka } from '../support/kafka.js'
import { kafkaSinkBlock, parsedSinkOptions } from '../support/kafka-sink.js'
import { createDatabase, type TestDatabase } from '../support/postgres.js'
import { type PipelineFile, type ProcessExit, runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { until } from '../support/until.js'

const ROWS = 5_000_000
/** The process is killed when a checkpoint lies at least this far inside the transaction. */
const KILLED_AFTER_ROWS = 2_000_000
const RSS_BYTES_MAX = 400 * 1024 * 1024
const RUN_MS_MAX = 180_000
const MIB = 1024 * 1024

t.setTimeout(600_000)

/** Rows of the open transaction that the last committed checkpoint holds; 0 when it is not inside one. */
function rowsInside(checkpoint: string | null): number {
  if (checkpoint === null) return 0
  const { position } = JSON.parse(checkpoint) as { position: string }
  return parsePosition(position as never).inside?.rows ?? 0
}

async function killedAndResumed(
  t: Test,
  { file }: PipelineFile,
  checkpoint: () => Promise<string | null> | string | null,
): Promise<void> {
  const first = startTidemark(t, ['sync', file])
  await until(async () => !first.running || rowsInside(await checkpoint()) >= KILLED_AFTER_ROWS, {
    timeoutMs: RUN_MS_MAX,
    what: 'a checkpoint inside the transaction',
  })
  t.ok(first.running, first.stderr())
  const killed = await first.kill()
  const inside = rowsInside(await checkpoint())
  t.ok(inside >= KILLED_AFTER_ROWS && inside < ROWS, `killed with ${inside} of ${ROWS} rows committed`)
  const second = await runTidemark(t, ['sync', file, '--until-caught-up'], { timeoutMs: RUN_MS_MAX })
  t.equal(second.code, 0, second.stderr)
  const peak = ({ peakRssBytes }: ProcessExit) => peakRssBytes / MIB
  t.comment(`peak RSS ${peak(killed).toFixed(0)} MiB, then ${peak(second).toFixed(0)} MiB`)
  for (const run of [killed, second]) {
    t.ok(run.peakRssBytes > 0 && run.peakRssBytes < RSS_BYTES_MAX, `peak RSS ${peak(run).toFixed(0)} MiB`)
  }
}

async function firstStart(t: Test, source: TestDatabase, name: string, sink: object): Promise<PipelineFile> {
  const pipeline = writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables: 'public.big' },
    sink,
    pipeline: { name: `${source.name}_${name}` },
  })
  const once = await runTidemark(t, ['sync', pipeline.file, '--once'])
  t.equal(once.code, 0, once.stderr)
  return pipeline
}

t.test(`a transaction of ${ROWS} rows, killed in its middle`, async (t) => {
  const source = await createDatabase(t, { version: '15' })
  const target = await createDatabase(t, { version: '15' })
  await source.query('create table big (id int primary key, v text, n int)')
  const toFiles = await firstStart(t, source, 'files', { type: 'file', path: '{{DIR}}/out' })
  const toPostgres = await firstStart(t, source, 'postgres', { type: 'postgres', url: target.url })
  const kafka = await sharedKafka()
  const topics = { 'topic.prefix': source.name }
  const toKafka = await firstStart(t, source, 'kafka', { ...kafkaSinkBlock(kafka), ...topics })
  await source.query(`insert into big select i, 'row ' || i, i % 1000 from generate_series(1, ${ROWS}) i`)

  await t.test('into files', async (t) => {
    const out = toFiles.path('out')
    await killedAndResumed(t, toFiles, () => newestCheckpoint(out))
    const seen = new Uint8Array(ROWS + 1)
    let lines = 0
    let wrong = 0
    for await (const line of committedLines(out)) {
      lines++
      const id = Number(/"after":\{"id":(\d+),"v":"row (\d+)"/.exec(line)?.[1])
      if (!(id >= 1 && id <= ROWS) || !line.includes(`"v":"row ${id}"`) || seen[id] === 1) wrong++
      else seen[id] = 1
    }
    t.same({ lines, wrong }, { lines: ROWS, wrong: 0 }, 'every row once')
  })

  await t.test('into PostgreSQL', async (t) => {
    const saved = `select checkpoint from tidemark.checkpoint where pipeline = $1`
    await killedAndResumed(t, toPostgres, async () => {
      const [row] = await target.query(saved, [`${source.name}_postgres`])
      return row?.checkpoint ?? null
    })
    const [found] = await target.query(
      `select count(*) as rows, min(id), max(id), count(*) filter (where v <> 'row ' || id or n <> id % 1000) as wrong from big`,
    )
    t.same(found, { rows: `${ROWS}`, min: '1', max: `${ROWS}`, wrong: '0' })
  })

  await t.test('into Kafka', async (t) => {
    const { signal } = new AbortController()
    const pipeline = `${source.name}_kafka`
    const saved = () => kafkaSink.readCheckpoint(parsedSinkOptions(kafka, topics), { pipeline, signal })
    await killedAndResumed(t, toKafka, saved)
    const tally = await kafka.tally(`${source.name}.public.big`, ROWS, { timeoutMs: RUN_MS_MAX })
    t.same(tally, { count: ROWS, distinct: ROWS, wrong: 0 }, 'Java consumes every row once')
  })
})
