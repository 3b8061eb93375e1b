/**
 * A file sink's commit costs at its 100,000th checkpoint what it cost at its 1,000th: the same calls, bytes and folder
 * entries, counted rather than timed. Every row of that history is read back, and a new owner goes on behind it.
 */
import { accessSync, constants, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { ChangeBatch } from '../../core/model.js'
import { fileSink } from '../../sinks/file/index.js'
import { committedLines } from '../support/committed-files.js'
import { countFileCalls, type FileCalls } from '../support/count-file-calls.js'
import { change, column, columnType, logOrigin, table } from '../support/format-tables.js'

const CHECKPOINTS = 100_000
const EARLY = 1_000
/** Ids of one length, so that segments have the same number of rows early and late. */
const FIRST_ID = 1_000_000
const SEGMENT_ROWS = 8
const SEGMENT_BYTES_MAX = SEGMENT_ROWS * `{"__op":"c","__table":"public.t","id":${FIRST_ID}}\n`.length
/** Commits that are counted: the segments of one index page. */
const COUNTED = 32 * SEGMENT_ROWS
/** Numbers of manifests and checkpoints grow by digits. */
const GROWTH_MAX = 1.05
const PIPELINE = 'p'

t.setTimeout(600_000)

const signal = new AbortController().signal
const schema = table('t', [column('id', columnType('int32', 'int4'))])

const batch = (id: number): ChangeBatch => ({
  kind: 'rows',
  schema,
  origin: logOrigin(0n),
  changes: [change('c', null, [String(id)], 1)],
  bytes: 10,
})

/** In memory where there is such a folder: nothing here depends on a disk, and fsync is what takes the time. */
function folder(): string {
  try {
    accessSync('/dev/shm', constants.W_OK)
    return mkdtempSync('/dev/shm/tidemark-history-')
  } catch {
    return mkdtempSync(join(tmpdir(), 'tidemark-history-'))
  }
}

t.test(`a commit's cost does not grow with ${CHECKPOINTS} checkpoints`, async (t) => {
  const root = folder()
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  const path = join(root, 'out')
  const options = { path, 'file.size.max': SEGMENT_BYTES_MAX, 'value.format': 'row-json' } as const
  const open = () =>
    fileSink.create(options, { pipeline: PIPELINE }).open({ pipeline: PIPELINE, signal, note: () => {} })
  const counter = await countFileCalls()
  t.teardown(() => counter.stop())
  const owner = await open()
  const costs: FileCalls[] = []
  for (let i = 1; i <= CHECKPOINTS; i++) {
    if (i === EARLY - COUNTED + 1 || i === CHECKPOINTS - COUNTED + 1) counter.read()
    await owner.write([batch(FIRST_ID + i)], { signal })
    await owner.commit(`checkpoint ${i}`, { signal })
    if (i === EARLY || i === CHECKPOINTS) costs.push(counter.read())
  }
  counter.stop()
  const [early, late] = costs as [FileCalls, FileCalls]
  t.comment(`${COUNTED} commits at the end: ${JSON.stringify(late)}`)
  t.same(late.calls, early.calls, 'the same calls')
  t.ok(
    early.calls.link === COUNTED && early.calls['handle.datasync']! >= COUNTED && early.calls.open! > COUNTED,
    'which are those of commits',
  )
  t.ok(early.bytesWritten > 0 && late.bytesWritten <= early.bytesWritten * GROWTH_MAX, 'as many bytes written')
  t.ok(late.bytesRead <= early.bytesRead * GROWTH_MAX, 'and read')
  t.ok(early.entries > 0 && late.entries <= early.entries * GROWTH_MAX, 'as many names listed')
  t.ok(readdirSync(join(path, 'manifest')).length <= 20, 'old manifests are pruned')
  await owner.close()

  const heir = await open()
  t.equal(heir.checkpoint, `checkpoint ${CHECKPOINTS}`)
  await heir.write([batch(FIRST_ID + CHECKPOINTS + 1)], { signal })
  await heir.commit('the last', { signal })
  await heir.close()
  let rows = 0
  let wrong = 0
  for await (const line of committedLines(path))
    if ((JSON.parse(line) as { id: number }).id !== FIRST_ID + ++rows) wrong++
  t.same({ rows, wrong }, { rows: CHECKPOINTS + 1, wrong: 0 }, 'every row once and in order')
})
