/** `tidemark check`: is everything ready, what would be done, and what is promised. Changes nothing anywhere. */
import type { Command } from 'commander'
import type { PipelineConfig } from '../config/pipeline-file.js'
import type { Finding } from '../core/define.js'
import type { TableId, TableSchema } from '../core/model.js'
import { example, type FileOptions, interruptible, print, withFile, withPipeline } from './command.js'
import { findingLines } from './findings.js'
import { EXIT, type Io } from './io.js'
import { known, type Log } from './log.js'
import { type OutputFormat, outputOption } from './output.js'
import { holds, readSaved } from './status.js'

interface CheckOptions extends FileOptions {
  readonly output: OutputFormat
}

export function checkCommand(command: Command, io: Io, done: (code: number) => void): void {
  withFile(command)
    .description('Check that source and sink are ready; print the exact fix for each problem.')
    .addOption(outputOption())
    .action(async (file: string, options: CheckOptions) => {
      const body = (config: PipelineConfig, log: Log) =>
        interruptible(io, (signal) => check(io, config, log, options, signal))
      done(await withPipeline(io, file, options, ({ config, log }) => body(config, log)))
    })
  example(command, 'tidemark check pipeline.yaml', 'tidemark check pipeline.yaml --output json')
}

async function check(
  io: Io,
  config: PipelineConfig,
  log: Log,
  options: CheckOptions,
  signal: AbortSignal,
): Promise<number> {
  const context = { pipeline: config.name, signal }
  const source = await findings(() => config.source.definition.check(config.source.options, context), 'source', signal)
  const ready = !source.some((f) => f.level === 'problem')
  const { seen, found } = ready ? await targets(config, signal) : { seen: {}, found: [] }
  const sinkContext = { ...context, ...seen }
  const sink = await findings(() => config.sink.definition.check(config.sink.options, sinkContext), 'sink', signal)
  const lost = ready ? await lostCheckpoint(config, signal) : []
  const promise = guarantee(config)
  const problems = [...source, ...found, ...lost, ...sink].filter((f) => f.level === 'problem').length
  const all = { source: [...source, ...found, ...lost], sink }
  const clean = (list: readonly Finding[]) => list.map((finding) => log.secrets.redactFinding(finding))
  const report = { pipeline: config.name, ...promise, problems, source: clean(all.source), sink: clean(sink) }
  const lines =
    options.output === 'json'
      ? JSON.stringify(report, null, 2)
      : [
          `pipeline ${config.name}`,
          `source (${config.source.definition.connector})`,
          ...findingLines(all.source, log.secrets).map((line) => `  ${line}`),
          `sink (${config.sink.definition.connector})`,
          ...findingLines(sink, log.secrets).map((line) => `  ${line}`),
          `guarantee: ${promise.guarantee}: ${promise.meaning}`,
          problems === 0 ? 'ready' : `not ready: ${problems} ${problems === 1 ? 'problem' : 'problems'}`,
        ].join('\n')
  await print(io, lines)
  return problems === 0 ? EXIT.done : EXIT.notReady
}

/** A check that cannot even connect is a problem like any other. */
async function findings(
  ask: () => Promise<readonly Finding[]>,
  subject: string,
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  try {
    return await ask()
  } catch (error) {
    if (signal.aborted) throw error
    return [problem(subject, error)]
  }
}

function problem(subject: string, thrown: unknown): Finding {
  const { code, message, fix } = known(thrown)
  return { level: 'problem', subject, message: `${message} (${code})`, ...(fix === null ? {} : { fix }) }
}

/** What a first start would refuse: something of this pipeline in the source, of which no checkpoint speaks. */
async function lostCheckpoint(config: PipelineConfig, signal: AbortSignal): Promise<Finding[]> {
  const sink = config.sink.definition.create(config.sink.options, { pipeline: config.name })
  if (sink.startsUnrecorded || (sink.guarantee === 'none' && config.stateFile === null)) return []
  try {
    if ((await readSaved(config, signal)) !== null) return []
    const held = await config.source.definition.status(config.source.options, { pipeline: config.name, signal })
    if (!holds(held)) return []
  } catch (error) {
    if (signal.aborted) throw error
    // Whatever cannot be asked is a finding of its own.
    return []
  }
  const where = sink.checkpointIn ?? 'the sink'
  const message = `${where} holds no checkpoint, although the source holds something of a pipeline ${config.name}: a start is refused`
  const fix =
    'tidemark drop FILE frees it, and the next start copies every row again; or give this pipeline another pipeline.name.'
  return [{ level: 'problem', subject: 'checkpoint', message, fix }]
}

/** What a sink is told of the source; nothing when the source could not be read. */
type Seen = Pick<Parameters<PipelineConfig['sink']['definition']['check']>[1], 'tables' | 'source'>

/** The tables as the sink would see them: this is where routes and transforms meet real columns. */
async function targets(
  config: PipelineConfig,
  signal: AbortSignal,
): Promise<{ seen: Seen; found: readonly Finding[] }> {
  const reader = config.source.definition.create(config.source.options, { pipeline: config.name })
  try {
    const opened = await reader.open({
      pipeline: config.name,
      durable: true,
      fenced: true,
      first: false,
      known: new Map(),
      saved: null,
      note: () => {},
      signal,
    })
    const schemas = opened.tables.map(({ schema }) => schema)
    const tables = new Map<TableId, TableSchema>()
    // Tables of a source that is only a log come up in it.
    const idle = reader.streamOnly ? [] : config.transform.idle(schemas)
    const found = idle.map((error) => problem(error.at ?? 'source', error))
    const fits = schemas.filter((schema) => {
      try {
        config.transform.apply(schema)
        return true
      } catch (error) {
        found.push(problem(schema.id, error))
        return false
      }
    })
    // What a merged table looks like is known once all of its tables are.
    for (const schema of fits) {
      const target = config.transform.apply(schema)
      tables.set(target.id, target)
      if (target !== schema) found.push({ level: 'info', subject: schema.id, message: changes(schema, target) })
    }
    const source = { identity: opened.identity, tables: schemas.map(({ id }) => id) }
    return { seen: { tables: [...tables.values()], source }, found }
  } catch (error) {
    if (signal.aborted) throw error
    return { seen: {}, found: [problem('source', error)] }
  } finally {
    await reader.close()
  }
}

function changes(from: TableSchema, to: TableSchema): string {
  const name = from.id === to.id ? '' : `goes to ${to.id}; `
  return `${name}columns ${to.columns.map((column) => column.name).join(', ')}`
}

export function guarantee(config: PipelineConfig): { guarantee: string; meaning: string } {
  const sink = config.sink.definition.create(config.sink.options, { pipeline: config.name })
  if (sink.guarantee === 'exactly-once') {
    return { guarantee: 'exactly-once', meaning: 'the sink commits data and checkpoint together' }
  }
  if (sink.guarantee === 'at-least-once' || config.stateFile !== null) {
    return { guarantee: 'at-least-once', meaning: 'the checkpoint is saved after the data, so a crash may repeat some' }
  }
  return { guarantee: 'none', meaning: 'the sink keeps no checkpoint: every run starts anew' }
}
