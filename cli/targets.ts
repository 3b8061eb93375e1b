/** The tables of a pipeline as its sink would see them, read without changing anything: where options meet real names. */
import type { PipelineConfig } from '../config/pipeline-file.js'
import type { Finding } from '../core/define.js'
import { TidemarkError } from '../core/errors.js'
import type { TableId, TableSchema } from '../core/model.js'
import { known } from './log.js'

export function problem(subject: string, thrown: unknown): Finding {
  const { code, message, fix } = known(thrown)
  return { level: 'problem', subject, message: `${message} (${code})`, ...(fix === null ? {} : { fix }) }
}

/** What a sink is told of the source; nothing when the source could not be read. */
type Seen = Pick<Parameters<PipelineConfig['sink']['definition']['check']>[1], 'tables' | 'source'>

interface Targets {
  readonly seen: Seen
  /** What routes and transforms do, and where they do not fit. */
  readonly found: readonly Finding[]
  /** Options of the sink that do not fit the tables. */
  readonly mistakes: readonly TidemarkError[]
}

export async function targets(config: PipelineConfig, signal: AbortSignal): Promise<Targets> {
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
    const { definition, options } = config.sink
    const judge = definition.tableMistakes?.(options, { pipeline: config.name })
    // One that a transform refused is missing here.
    const complete = !reader.streamOnly && fits.length === schemas.length
    const mistakes = judge?.([...tables.values()], complete) ?? []
    return { seen: { tables: [...tables.values()], source }, found, mistakes }
  } catch (error) {
    if (signal.aborted) throw error
    return { seen: {}, found: [problem('source', error)], mistakes: [] }
  } finally {
    await reader.close()
  }
}

function changes(from: TableSchema, to: TableSchema): string {
  const name = from.id === to.id ? '' : `goes to ${to.id}; `
  return `${name}columns ${to.columns.map((column) => column.name).join(', ')}`
}

/** Refuses options of the sink that do not fit the tables, before a run makes anything anywhere. */
export async function refuseMistakes(config: PipelineConfig, signal: AbortSignal): Promise<void> {
  const { definition, options } = config.sink
  if (!definition.tableMistakes?.(options, { pipeline: config.name })) return
  const { mistakes } = await targets(config, signal)
  const [first, ...more] = mistakes
  if (first === undefined) return
  if (more.length === 0) throw first
  const lines = mistakes.map(({ at, message, fix }) =>
    `  ${config.place(at ?? 'sink')}  ${message}. ${fix ?? ''}`.trimEnd(),
  )
  throw new TidemarkError(first.code, { message: `${mistakes.length} mistakes\n${lines.join('\n')}` })
}
