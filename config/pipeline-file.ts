/**
 * From a pipeline file to a checked pipeline: read, interpolate, apply --set, validate every block, compile routes
 * and transforms. Nothing connects anywhere. All mistakes come in one ConfigError.
 */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, dirname, resolve } from 'node:path'
import type { SinkDefinition, SourceDefinition } from '../core/define.js'
import { parseDurationMs } from '../core/duration.js'
import { TidemarkError } from '../core/errors.js'
import { PIPELINE_NAME, type RouteEntry, routeEntry, type TransformEntry, transformEntry } from './blocks.js'
import { ConfigError, didYouMean } from './problems.js'
import { BLOCKS, type Configured, connector, entries, pipelineOptions, topLevel } from './read-blocks.js'
import type { Registry } from './registry.js'
import { Secrets } from './secrets.js'
import { compileTransform, type FileTransform } from './transform.js'
import { describe, isRecord, YamlFile } from './yaml-file.js'

const READERS_DEFAULT_MIN = 2
const READERS_DEFAULT_MAX = 8
const FILE_BYTES_MAX = 4 * 1024 * 1024

export interface PipelineConfig {
  readonly file: string
  readonly name: string
  readonly source: Configured<SourceDefinition<unknown>>
  readonly sink: Configured<SinkDefinition<unknown>>
  readonly transform: FileTransform
  readonly mode: 'initial' | 'latest-offset' | 'snapshot'
  readonly readers: number
  readonly checkpointIntervalMs: number | undefined
  readonly heartbeatIntervalMs: number | undefined
  /** Absolute path of `pipeline.state`. */
  readonly stateFile: string | null
  /** One line each, for stderr. */
  readonly warnings: readonly string[]
  /** `sink.topic` with `file:line:column` before it, for errors; anything else as it is. */
  readonly place: (at: string) => string
}

export interface LoadOptions {
  readonly file: string
  /** What the file would hold, before it is written. */
  readonly text?: string
  readonly registry: Registry
  readonly env: Readonly<Record<string, string | undefined>>
  /** Folder that a relative `file` starts from. */
  readonly cwd?: string
  /** `BLOCK.OPTION=VALUE`. */
  readonly set?: readonly string[]
  /** Learns what must not be printed, also when loading fails. */
  readonly secrets?: Secrets
}

export function loadPipeline(options: LoadOptions): PipelineConfig {
  const { file, registry, env, set = [], secrets = new Secrets(), cwd = process.cwd() } = options
  const path = resolve(cwd, file)
  const yaml = new YamlFile(file, options.text ?? readText(path, file), { env, folder: dirname(path) }, secrets)
  if (yaml.problems.length > 0 && yaml.data === null)
    throw redacted(new ConfigError(file, yaml.problems, nameOf(file)), secrets)
  const warnings: string[] = []
  for (const assignment of set) applySet(yaml, assignment)
  const data = topLevel(yaml)
  const source = connector(yaml, data, 'source', registry.sources, warnings)
  const sink = connector(yaml, data, 'sink', registry.sinks, warnings)
  const pipeline = pipelineOptions(yaml, data, warnings)
  const routes = entries<RouteEntry>(yaml, data, 'route', routeEntry)
  const transforms = entries<TransformEntry>(yaml, data, 'transform', transformEntry)
  const name = pipeline?.name ?? nameOf(file)
  if (pipeline && !pipeline.name && !PIPELINE_NAME.test(name)) {
    const message = `the file's name "${name}" cannot name the pipeline; give pipeline.name`
    yaml.problems.push({ ...yaml.keyPlace(['pipeline']), message })
  }
  if (yaml.problems.length > 0 || !source || !sink || !pipeline || !routes || !transforms) {
    throw redacted(new ConfigError(file, yaml.problems, givenName(data) ?? name), secrets)
  }
  inspect(yaml, 'source', source, name, warnings)
  inspect(yaml, 'sink', sink, name, warnings)
  if (yaml.problems.length > 0) throw redacted(new ConfigError(file, yaml.problems, name), secrets)
  return {
    file: path,
    name,
    source,
    sink,
    transform: compileTransform(
      routes,
      transforms,
      pipeline['route-mode'] ?? 'ALL_MATCH',
      (option) => `${yaml.valuePlace(option).where} ${describe(option)}`,
    ),
    mode: startupMode(source.given['scan.startup.mode']),
    readers: pipeline.parallelism ?? defaultReaders(),
    checkpointIntervalMs: pipeline['checkpoint.interval'],
    heartbeatIntervalMs: heartbeat(source.given['heartbeat.interval']),
    stateFile: pipeline.state === undefined ? null : resolve(dirname(path), pipeline.state),
    warnings: warnings.map((line) => secrets.redact(line)),
    place: (at) => {
      const option = /^(source|sink|pipeline)\.(.+)$/.exec(at)
      return option === null ? at : `${yaml.valuePlace(option.slice(1)).where} ${at}`
    },
  }
}

/** What options say together, once each is fine by itself. */
function inspect(
  yaml: YamlFile,
  block: 'source' | 'sink',
  { definition, options, given }: Configured<SourceDefinition<unknown> | SinkDefinition<unknown>>,
  pipeline: string,
  warnings: string[],
): void {
  for (const { option, message, level } of definition.inspect?.(options, { pipeline, given }) ?? []) {
    const path = [block, option]
    if (level === 'warning') warnings.push(`${describe(path)} ${message}`)
    else yaml.problems.push({ ...yaml.valuePlace(path), message: `${describe(path)}: ${message}` })
  }
}

function readText(path: string, file: string): string {
  try {
    const bytes = readFileSync(path)
    if (bytes.length <= FILE_BYTES_MAX) return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    const message = code === 'ENOENT' ? `there is no file ${file}` : `${file} cannot be read as UTF-8 text (${code})`
    const fix = code === 'ENOENT' ? 'Make one with: tidemark init' : 'Check the file and its permissions.'
    throw new TidemarkError('config.unreadable', { message, fix, cause })
  }
  throw new TidemarkError('config.unreadable', {
    message: `${file} is larger than ${FILE_BYTES_MAX} bytes`,
    fix: 'Give the path of a pipeline file.',
  })
}

/** A pipeline is called as its file unless it says otherwise. */
export function nameOf(file: string): string {
  return basename(file).replace(/\.ya?ml$/i, '')
}

/** Also when other options are wrong. */
function givenName(data: Record<string, unknown>): string | null {
  const name = isRecord(data.pipeline) ? data.pipeline.name : null
  return typeof name === 'string' && PIPELINE_NAME.test(name) ? name : null
}

function redacted(error: ConfigError, secrets: Secrets): ConfigError {
  const problems = error.problems.map((p) => ({ ...p, message: secrets.redact(p.message) }))
  return new ConfigError(error.file, problems, error.pipeline)
}

function applySet(yaml: YamlFile, assignment: string): void {
  const match = /^([^.=]+)\.([^=]+)=(.*)$/s.exec(assignment)
  const problem = (where: string, message: string) =>
    yaml.problems.push({ where, message, offset: Number.MAX_SAFE_INTEGER })
  if (!match) {
    problem(
      `--set ${assignment.split('=')[0]}`,
      'is not understood. Write --set BLOCK.OPTION=VALUE, for example source.tables=public.orders',
    )
    return
  }
  const [, block = '', option = '', text = ''] = match
  const label = `--set ${block}.${option}`
  if (block === 'route' || block === 'transform') {
    problem(label, `${block} is a list, and --set cannot reach into it. Change the file.`)
  } else if (!(BLOCKS as readonly string[]).includes(block)) {
    problem(label, `there is no block "${block}".${didYouMean(block, BLOCKS)} Blocks are source, sink and pipeline.`)
  } else {
    const wrong = yaml.set([block, option], text, label)
    if (wrong !== null) problem(label, wrong)
  }
}

/** Readers mostly wait for the server, which is often the same machine: as many as cores, within reason. */
export function defaultReaders(): number {
  return Math.min(READERS_DEFAULT_MAX, Math.max(READERS_DEFAULT_MIN, availableParallelism()))
}

function startupMode(given: unknown): PipelineConfig['mode'] {
  return given === 'latest-offset' || given === 'snapshot' ? given : 'initial'
}

function heartbeat(given: unknown): number | undefined {
  return typeof given === 'string' || typeof given === 'number' ? (parseDurationMs(given) ?? undefined) : undefined
}
