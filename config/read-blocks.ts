/** The blocks of a pipeline file: which there are, which connector each means, and their options held against schemas. */
import type { ZodType } from 'zod'
import { type PipelineBlock, pipelineBlock, REFUSED, WITHOUT_EFFECT } from './blocks.js'
import { jsonSchemaOf, optionsAt } from './option-shape.js'
import { closest, didYouMean, either } from './problems.js'
import { validate } from './validate.js'
import { describe, isRecord, type YamlFile } from './yaml-file.js'

export const BLOCKS = ['source', 'sink', 'route', 'transform', 'pipeline'] as const

/** A connector with its checked options. */
export interface Configured<D> {
  readonly definition: D
  readonly options: unknown
  /** The options as given, by the names in the file. */
  readonly given: Readonly<Record<string, unknown>>
}

export function topLevel(yaml: YamlFile): Record<string, unknown> {
  const { data } = yaml
  if (!isRecord(data)) {
    const message =
      data === null
        ? 'the file is empty; it needs "source" and "sink"'
        : 'the file must hold the blocks "source" and "sink"'
    if (yaml.problems.length === 0) yaml.problems.push({ ...yaml.valuePlace([]), message })
    return {}
  }
  for (const key of Object.keys(data)) {
    if ((BLOCKS as readonly string[]).includes(key)) continue
    const hint = didYouMean(key, BLOCKS) || ` A pipeline file has ${either([...BLOCKS])}.`
    yaml.problems.push({ ...yaml.keyPlace([key]), message: `there is no block "${key}".${hint}` })
  }
  for (const block of ['source', 'sink']) {
    if (block in data || Object.keys(data).some((key) => didYouMean(key, BLOCKS).includes(`"${block}"`))) continue
    yaml.problems.push({ ...yaml.valuePlace([]), message: `the file needs "${block}"` })
  }
  return data
}

interface Named {
  readonly connector: string
  readonly aliases?: readonly string[]
}

/** The connector that `type: WORD` means. */
export function connectorNamed<D extends Named>(definitions: readonly D[], type: unknown): D | undefined {
  return definitions.find(({ connector, aliases = [] }) => [connector, ...aliases].some((word) => word === type))
}

export function connector<D extends Named & { readonly options: ZodType<unknown> }>(
  yaml: YamlFile,
  data: Record<string, unknown>,
  block: 'source' | 'sink',
  definitions: readonly D[],
  warnings: string[],
): Configured<D> | null {
  const given = data[block]
  if (given === undefined) return null
  const names = definitions.map((d) => d.connector)
  if (!isRecord(given)) {
    const several = Array.isArray(given) && given.length > 1
    const message = several
      ? `${block} must be one map of options: a pipeline has one ${block} and one position in it. Write a pipeline file for each${block === 'source' ? '; they may write to one sink, each with a checkpoint of its own' : ''}`
      : `${block} must be a map of options, with "type" one of ${either(names)}`
    yaml.problems.push({ ...yaml.valuePlace([block]), message })
    return null
  }
  const { type: word = 'type', misspelt } = typeOption(given)
  const { [word]: type, ...rest } = given
  if (misspelt) {
    const message = `${block} has no option "${word}". Did you mean "type"?`
    yaml.problems.push({ ...yaml.keyPlace([block, word]), message })
  }
  const found = connectorNamed(definitions, type)
  if (!found) {
    const place = type === undefined ? yaml.keyPlace([block]) : yaml.valuePlace([block, word])
    const list = `It can be ${either(names)}.`
    const message =
      type === undefined
        ? `${block} needs "type". ${list}`
        : typeof type === 'string'
          ? `there is no ${block} "${type}".${didYouMean(type, names) || ` ${list}`}`
          : `${block}.type must be a word. ${list}`
    if (!yaml.isBroken([block, word])) yaml.problems.push({ ...place, message })
  }
  // Where there is one kind only, its options are meant whatever the type says.
  const definition = found ?? (definitions.length === 1 && Object.keys(rest).length > 0 ? definitions[0] : undefined)
  if (!definition) return null
  const known = dropWithoutEffect(rest, block, warnings, optionsAt(jsonSchemaOf(definition.options), []))
  const label = `${block} (${definition.connector})`
  const options = validate(definition.options, known, { file: yaml, path: [block], label })
  return options === null || !found || misspelt ? null : { definition, options, given: known }
}

/** The option that says the type; misspelt when it was only meant to. */
function typeOption(given: Readonly<Record<string, unknown>>): { readonly type?: string; readonly misspelt: boolean } {
  if ('type' in given) return { misspelt: false }
  const meant = Object.keys(given).find((option) => closest(option, ['type']) !== null)
  return meant === undefined ? { misspelt: false } : { type: meant, misspelt: true }
}

export function pipelineOptions(
  yaml: YamlFile,
  data: Record<string, unknown>,
  warnings: string[],
): PipelineBlock | null {
  const given = data.pipeline ?? {}
  if (!isRecord(given)) {
    yaml.problems.push({ ...yaml.valuePlace(['pipeline']), message: 'pipeline must be a map of options' })
    return null
  }
  const known = dropWithoutEffect(refuse(yaml, ['pipeline'], given, 'pipeline'), 'pipeline', warnings, [])
  if (given['execution.runtime-mode'] === 'BATCH') {
    const message =
      'pipeline.execution.runtime-mode: BATCH is not supported. Use `scan.startup.mode: snapshot` in source.'
    yaml.problems.push({ ...yaml.valuePlace(['pipeline', 'execution.runtime-mode']), message })
  }
  return validate(pipelineBlock, known, { file: yaml, path: ['pipeline'], label: 'pipeline' })
}

export function entries<T>(
  yaml: YamlFile,
  data: Record<string, unknown>,
  block: 'route' | 'transform',
  schema: ZodType<T>,
): T[] | null {
  const given = data[block] ?? []
  if (!Array.isArray(given)) {
    const message = `${block} must be a list: start each entry with "- source-table: ..."`
    yaml.problems.push({ ...yaml.valuePlace([block]), message })
    return null
  }
  const found = given.map((entry: unknown, i) => {
    const path = [block, i]
    const value = isRecord(entry) ? refuse(yaml, path, entry, block) : entry
    return validate(schema, value, { file: yaml, path, label: describe(path) })
  })
  return found.some((entry) => entry === null) ? null : (found as T[])
}

/** Names options of Flink CDC that would change what is delivered, and takes them out. */
function refuse(
  yaml: YamlFile,
  path: readonly (string | number)[],
  given: Record<string, unknown>,
  block: string,
): Record<string, unknown> {
  const left = { ...given }
  for (const [option, what] of Object.entries(REFUSED[block] ?? {})) {
    if (!(option in left)) continue
    delete left[option]
    const message = `${describe([...path, option])} is not supported in this version (${what})`
    yaml.problems.push({ ...yaml.keyPlace([...path, option]), message })
  }
  return left
}

const CLIENT_PROPERTIES = 'properties.'

function dropWithoutEffect(
  given: Record<string, unknown>,
  block: string,
  warnings: string[],
  owned: readonly string[],
): Record<string, unknown> {
  const left = { ...given }
  for (const [option, why] of Object.entries(WITHOUT_EFFECT[block] ?? {})) {
    if (!(option in left) || owned.includes(option)) continue
    delete left[option]
    if (option !== 'name') warnings.push(`${block}.${option} has no effect: ${why}`)
  }
  // Settings of the client that Flink would run with, where the connector maps those that mean something here.
  if (!owned.some((name) => name.startsWith(CLIENT_PROPERTIES))) return left
  for (const option of Object.keys(left)) {
    if (!option.startsWith(CLIENT_PROPERTIES) || owned.includes(option)) continue
    const meant = closest(option, owned)
    if (meant !== null) continue
    delete left[option]
    warnings.push(`${block}.${option} has no effect: it belongs to the Java client`)
  }
  return left
}
