/**
 * A process of its own that writes a given stream through a sink of the built program, to be killed or stopped at a named
 * step. Resumes from what the sink read back. Argument: a JSON file with connector, options, pipeline, tables, and for each
 * commit its writes, which are lists of batches; {"unsent": true} stands for a value that is not sent. Plain JavaScript,
 * because loading TypeScript takes longer than all that it does.
 */
import { readFileSync } from 'node:fs'

const { SINKS } = await import('../../dist/sinks/index.js')
const job = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const signal = new AbortController().signal
const origin = { kind: 'log', txn: { ordinal: 1n, previous: 0n, tsUs: 0n } }

function batchOf({ table, changes }) {
  const row = (values) => (values === null ? null : values.map((value) => (value?.unsent ? undefined : value)))
  const read = changes.map(({ op, before, after }) => ({ op, before: row(before), after: row(after), at: 0 }))
  return { kind: 'rows', schema: job.tables[table], origin, changes: read, bytes: 1_000 }
}

try {
  const definition = SINKS.find(({ connector }) => connector === job.connector)
  const sink = definition.create(definition.options.parse(job.options), { pipeline: job.pipeline })
  const session = await sink.open({ pipeline: job.pipeline, signal, note: () => {} })
  const first = new Set(session.checkpoint === null ? job.tables.map(({ id }) => id) : [])
  await session.prepare(job.tables, { signal, first, source: { identity: {}, tables: [] } })
  const done = session.checkpoint === null ? -1 : JSON.parse(session.checkpoint).n
  for (let n = done + 1; n < job.commits.length; n++) {
    for (const batches of job.commits[n]) await session.write(batches.map(batchOf), { signal })
    await session.commit(JSON.stringify({ n }), { signal })
    process.stderr.write(`committed ${n}\n`)
  }
  await session.close()
} catch (error) {
  process.stderr.write(`failed ${error.code}: ${error.message}\n`)
  process.exit(1)
}
