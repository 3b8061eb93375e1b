/** The options of `pipeline`, `route` and `transform`; those of `source` and `sink` belong to their connectors. */
import { z } from 'zod'
import { nearest, suggest } from '../core/did-you-mean.js'
import { duration, tablePatterns } from '../core/options.js'
import { parseTablePatterns, type TablePattern } from '../core/table-pattern.js'

const CHECKPOINT_INTERVAL_MS_MIN = 10
const CHECKPOINT_INTERVAL_MS_MAX = 10 * 60_000
const PARALLELISM_MAX = 64
const NAME_CHARS_MAX = 100

const description = z.string().optional().describe('A remark for people; it has no effect.')

/** A pipeline's name keys the slot, the publication and the checkpoint. */
export const PIPELINE_NAME = /^[\p{L}\p{N}_][\p{L}\p{N}_. -]*$/u

export const pipelineBlock = z.strictObject({
  name: z
    .string()
    .max(NAME_CHARS_MAX)
    .regex(PIPELINE_NAME, 'use letters, digits, "_", "-" and "."')
    .optional()
    .describe(
      "The pipeline's identity: it names the slot, the publication and the checkpoint. Default: the file's base name.",
    ),
  parallelism: z
    .number()
    .int()
    .min(1)
    .max(PARALLELISM_MAX)
    .optional()
    .describe(
      'Chunks of the snapshot that are read at once, each on a connection of its own. Default: from the cores.',
    ),
  'checkpoint.interval': duration(CHECKPOINT_INTERVAL_MS_MIN, CHECKPOINT_INTERVAL_MS_MAX)
    .optional()
    .describe('The longest time that data waits to be committed; an idle sink commits at once. Default: 1s.'),
  state: z
    .string()
    .min(1)
    .optional()
    .describe(
      'A file that keeps the checkpoint for sinks that have no place for one (stdout, blackhole). With it, such a pipeline resumes; without it, every run starts anew.',
    ),
  'route-mode': z
    .enum(['ALL_MATCH', 'FIRST_MATCH'])
    .optional()
    .describe(
      'FIRST_MATCH: the first route that matches a table counts. ALL_MATCH (default): more than one is an error.',
    ),
})

export const routeEntry = z
  .strictObject({
    'source-table': tablePatterns().describe('The tables that the route applies to: a name, a glob or a pattern.'),
    'sink-table': z
      .string()
      .min(1)
      .describe(
        'Where they go: schema.table, or a table in the same schema. $1, $2... stand for what the groups of the pattern (or the wildcards of a glob) matched.',
      ),
    'replace-symbol': z
      .string()
      .min(1)
      .optional()
      .describe('Every place in sink-table that holds this text receives the source table\'s name, e.g. "<>".'),
    merge: z
      .enum(['by-shard', 'disjoint-keys'])
      .optional()
      .describe(
        'Lets several source tables go to one target. by-shard: shard-columns become part of its key. disjoint-keys: you vouch that no two of the tables have a row with the same key; where they do, the last change wins and nothing notices.',
      ),
    'shard-columns': z
      .record(z.string().min(1), z.string().min(1))
      .optional()
      .describe(
        'Columns that the merged table gets, name to value: {database}, {schema} and {table} are the names of the source table, $1, $2... as in sink-table.',
      ),
    'on-truncate': z
      .enum(['stop', 'ignore'])
      .optional()
      .describe(
        'What a TRUNCATE of one of the merged tables does: stop the pipeline (default), or leave its rows in the target.',
      ),
    description,
  })
  .superRefine(groupsExist)
  .superRefine(mergeMeant)

interface RouteShape {
  readonly 'source-table': string
  readonly 'sink-table': string
  readonly merge?: string | undefined
  readonly 'shard-columns'?: Readonly<Record<string, string>> | undefined
  readonly 'on-truncate'?: string | undefined
}

function mergeMeant(entry: RouteShape, context: z.RefinementCtx): void {
  const problem = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message })
  if (entry.merge === 'by-shard' && Object.keys(entry['shard-columns'] ?? {}).length === 0) {
    problem(
      'merge',
      'by-shard needs shard-columns that say which table a row comes from, for example shard: "{schema}.{table}"',
    )
  }
  for (const option of ['shard-columns', 'on-truncate'] as const) {
    if (entry[option] !== undefined && entry.merge === undefined) problem(option, 'it belongs to a route with `merge`')
  }
}

/** $2 of a pattern with one group would be nothing, and `x.$1_$2` a table nobody meant. */
function groupsExist(entry: RouteShape, context: z.RefinementCtx): void {
  const columns = Object.entries(entry['shard-columns'] ?? {})
  const texts: [path: string[], text: string][] = [
    [['sink-table'], entry['sink-table']],
    ...columns.map(([name, text]): [string[], string] => [['shard-columns', name], text]),
  ]
  for (const [path, text] of texts) groupsExistIn(entry, path, text, context)
  for (const [name, text] of columns) {
    for (const [whole, word] of text.matchAll(/\{([A-Za-z_-]+)\}/g)) {
      if (SHARD_PLACEHOLDERS.includes(word!)) continue
      const meant = nearest(word!, SHARD_PLACEHOLDERS)
      const message = `nothing is called ${whole}.${suggest(meant && `{${meant}}`)} There are {database}, {schema} and {table}`
      context.addIssue({ code: 'custom', path: ['shard-columns', name], message })
    }
  }
}

const SHARD_PLACEHOLDERS = ['database', 'schema', 'table']

function groupsExistIn(entry: RouteShape, path: string[], text: string, context: z.RefinementCtx): void {
  let patterns: TablePattern[]
  try {
    patterns = parseTablePatterns(entry['source-table'])
  } catch {
    return
  }
  for (const [reference, digit] of text.matchAll(/\$(\d)/g)) {
    const lacking = patterns.find(({ groups }) => digit === '0' || Number(digit) > groups)
    if (lacking === undefined) continue
    const count = lacking.groups === 0 ? 'no wildcard or group' : `${lacking.groups} of them`
    const message = `${reference} stands for a wildcard or group of source-table, and "${lacking.text}" has ${count}`
    context.addIssue({ code: 'custom', path, message })
  }
}

const columnNames = (about: string) =>
  z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
    .transform((names) =>
      (typeof names === 'string' ? names.split(',') : names).map((name) => name.trim()).filter((name) => name !== ''),
    )
    .optional()
    .describe(about)

export const MASKS = ['sha256', 'redact', 'null'] as const

export const transformEntry = z
  .strictObject({
    'source-table': tablePatterns().describe('The tables that the rule applies to: a name, a glob or a pattern.'),
    include: columnNames('Columns to keep; all others are left out. `*` and `?` match any characters.'),
    exclude: columnNames('Columns to leave out. `*` and `?` match any characters.'),
    mask: z
      .record(
        z.string().min(1),
        z.preprocess((v) => (v === null ? 'null' : v), z.enum(MASKS)),
      )
      .optional()
      .describe('Column (or pattern) to mask: sha256 of its text in hex, redact (`***`), or null.'),
    rename: z.record(z.string().min(1), z.string().min(1)).optional().describe('Column name to its new name.'),
    description,
  })
  .superRefine((rule, context) => {
    if (rule.include || rule.exclude || rule.mask || rule.rename) return
    context.addIssue({ code: 'custom', message: 'it does nothing: give include, exclude, mask or rename' })
  })

export type PipelineBlock = z.output<typeof pipelineBlock>
export type RouteEntry = z.output<typeof routeEntry>
export type TransformEntry = z.output<typeof transformEntry>

/** Options of Flink CDC that are harmless to accept: a line on stderr says that they have no effect. */
export const WITHOUT_EFFECT: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  pipeline: {
    'local-time-zone': 'values keep the time zone of the source',
    'execution.runtime-mode': 'use `--once` or `scan.startup.mode: snapshot` for a bounded run',
    'schema.change.behavior': 'a change that the target cannot take stops the pipeline and names the statement to run',
    'schema-operator.rpc-timeout': 'there is no separate schema operator',
    'operator.uid.prefix': 'the name of the pipeline identifies its state',
    'sink.partitioning.strategy': 'one key always stays in order',
    'transform.decimal.precision.mode': 'decimals stay exact',
  },
  source: {
    name: 'it is a label only',
    'decoding.plugin.name': 'the log is always read through pgoutput',
    'server-time-zone': 'values keep the time zone of the source',
    'scan.snapshot.fetch.size': 'rows of a chunk come as one stream',
    'scan.incremental.close-idle-reader.enabled': 'readers end with the snapshot',
    'scan.incremental.snapshot.unbounded-chunk-first.enabled': 'chunks are streamed, whatever their size',
    'scan.lsn-commit.checkpoints-num-delay': 'the log is released when the sink has committed',
    'chunk-meta.group.size': 'there is no chunk metadata to send',
    'connect.max-retries': 'lost connections are opened again from the last checkpoint',
    'connection.pool.size': 'each reader has one connection',
  },
  sink: {
    name: 'it is a label only',
    'include.schema.changes': 'schema changes are not forwarded',
    'exclude.schema.changes': 'schema changes are not forwarded',
  },
}

/** Options of Flink CDC that change what is delivered, so that leaving them out would be wrong. */
export const REFUSED: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  pipeline: { 'user-defined-function': 'functions', model: 'models' },
  transform: {
    projection: 'expressions; use include, exclude, mask and rename',
    filter: 'row filters',
    'primary-keys': 'other keys than the table has',
    'partition-keys': 'partition keys',
    'table-options': 'options of created tables',
    'table-options.delimiter': 'options of created tables',
    'converter-after-transform': 'converters',
  },
}
