/** `tidemark init`: writes a first pipeline file from answers or flags. It never overwrites and stores no password. */
import { existsSync, writeFileSync } from 'node:fs'
import { dirname, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Command, Option } from 'commander'
import { stringify } from 'yaml'
import { loadPipeline } from '../config/pipeline-file.js'
import { ConfigError } from '../config/problems.js'
import { TidemarkError } from '../core/errors.js'
import { asking } from './ask.js'
import { example, interruptible, usage } from './command.js'
import { EXIT, type Io } from './io.js'
import { createLog, known } from './log.js'

const SINKS = ['stdout', 'file', 'postgres', 'blackhole'] as const
type SinkType = (typeof SINKS)[number]

interface InitOptions {
  readonly file: string
  readonly sourceUrl?: string
  readonly tables?: string
  readonly sink?: SinkType
  readonly sinkUrl?: string
  readonly sinkPath?: string
}

interface Answers {
  readonly sourceUrl: string
  readonly tables: string
  readonly sink: SinkType
  /** The URL or path of sinks that need one. */
  readonly target: string | null
}

const DEFAULTS = {
  sourceUrl: 'postgres://postgres@localhost:5432/postgres',
  tables: 'public.*',
  sink: 'stdout',
} as const

export function initCommand(command: Command, io: Io, done: (code: number) => void): void {
  command
    .description('Write a first pipeline file: asks, or takes flags. Never overwrites.')
    .option('--file <file>', 'the file to write', 'pipeline.yaml')
    .option('--source-url <url>', 'the database to read, e.g. postgres://user:password@host:5432/shop')
    .option('--tables <patterns>', 'tables to copy, e.g. public.* or public.orders,public.items')
    .addOption(new Option('--sink <type>', 'where changes go').choices(SINKS))
    .option('--sink-url <url>', 'the database to write to (sink postgres)')
    .option('--sink-path <folder>', 'the folder to write to (sink file)')
    .action(async (options: InitOptions) => {
      const log = createLog(io, 'text')
      try {
        done(await interruptible(io, (signal) => init(io, options, signal)))
      } catch (error) {
        log.error(error)
        done(known(error).exitCode)
      }
    })
  example(
    command,
    'tidemark init',
    'tidemark init --source-url postgres://me@localhost:5432/shop --tables "public.*" --sink file --sink-path ./out',
  )
}

async function init(io: Io, options: InitOptions, signal: AbortSignal): Promise<number> {
  const path = resolve(io.cwd, options.file)
  if (existsSync(path)) throw exists(options.file)
  const answers = await answersFor(io, options, signal)
  const { text, variables } = pipelineText(answers, modeline(path))
  await refuseWrong(io, options.file, text, variables)
  try {
    writeFileSync(path, text, { flag: 'wx' })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') throw exists(options.file)
    throw new TidemarkError('config.unreadable', {
      message: `${options.file} cannot be written (${(cause as NodeJS.ErrnoException).code})`,
      fix: 'Give a path in a folder that exists and can be written to: --file FILE',
      cause,
    })
  }
  io.stderr.write(`wrote ${options.file}\n`)
  for (const name of variables) {
    io.stderr.write(
      `it holds no password: set ${name} to the password as it is, not percent-encoded, before each run\n`,
    )
  }
  io.stderr.write(`next: tidemark check ${options.file}\n`)
  return EXIT.done
}

/** What sync would refuse is not written: the same reading, with something in the place of each password. */
async function refuseWrong(io: Io, file: string, text: string, variables: readonly string[]): Promise<void> {
  const env = { ...io.env, ...Object.fromEntries(variables.map((name) => [name, 'password'])) }
  try {
    loadPipeline({ file, text, registry: await io.registry(), env, cwd: io.cwd })
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const list = error.problems.map(({ message }) => `  ${message}`).join('\n')
    throw usage(`nothing was written, because sync would refuse it:\n${list}`, 'Correct the flags or answers.')
  }
}

function exists(file: string): TidemarkError {
  return new TidemarkError('cli.exists', {
    message: `${file} exists already, and init never overwrites`,
    fix: 'Give another name: --file FILE',
  })
}

async function answersFor(io: Io, options: InitOptions, signal: AbortSignal): Promise<Answers> {
  const given = options.sourceUrl ?? options.tables ?? options.sink ?? options.sinkUrl ?? options.sinkPath
  if (io.stdin.isTTY === true && given === undefined) return ask(io, signal)
  if (given === undefined) {
    throw usage(
      'init asks questions, and there is no terminal to ask on',
      'Give flags: --source-url URL --tables PATTERNS --sink TYPE',
    )
  }
  if (options.sourceUrl === undefined) throw usage('--source-url is missing', 'Give --source-url postgres://...')
  const sink = options.sink ?? (options.sinkUrl ? 'postgres' : options.sinkPath ? 'file' : DEFAULTS.sink)
  const idle = [
    ['--sink-url', options.sinkUrl, 'postgres'],
    ['--sink-path', options.sinkPath, 'file'],
  ] as const
  for (const [flag, value, of] of idle) {
    if (value !== undefined && sink !== of)
      throw usage(`${flag} is for the sink ${of}, not ${sink}`, `Give --sink ${of}.`)
  }
  const target = sink === 'postgres' ? options.sinkUrl : sink === 'file' ? options.sinkPath : null
  if (target === undefined) {
    const flag = sink === 'postgres' ? '--sink-url URL' : '--sink-path FOLDER'
    throw usage(`the sink ${sink} needs ${flag}`, `Give ${flag}.`)
  }
  return { sourceUrl: options.sourceUrl, tables: options.tables ?? DEFAULTS.tables, sink, target }
}

function ask(io: Io, signal: AbortSignal): Promise<Answers> {
  return asking(io, signal, async (ask) => {
    const question = async (text: string, byDefault: string) => (await ask(`${text} [${byDefault}]: `)) || byDefault
    const sourceUrl = await question('PostgreSQL to read (URL)', DEFAULTS.sourceUrl)
    const tables = await question('Tables', DEFAULTS.tables)
    let sink = await question(`Sink: ${SINKS.join(', ')}`, DEFAULTS.sink)
    while (!(SINKS as readonly string[]).includes(sink)) {
      sink = await question(`One of ${SINKS.join(', ')}`, DEFAULTS.sink)
    }
    let target: string | null = null
    if (sink === 'postgres') target = await question('PostgreSQL to write to (URL)', 'postgres://localhost:5432/copy')
    if (sink === 'file') target = await question('Folder to write to', './out')
    return { sourceUrl, tables, sink: sink as SinkType, target }
  })
}

/** The file's text, and the environment variables that stand for its passwords. */
function pipelineText(answers: Answers, firstLine: string): { text: string; variables: string[] } {
  const variables: string[] = []
  const withoutPassword = (url: string, variable: string) => {
    const split = /^([a-z][a-z0-9+.-]*:\/\/[^:/@]*):(.+)@([^@]*)$/i.exec(url)
    if (!split || split[2]!.includes('${')) return url
    variables.push(variable)
    return `${split[1]}:\${${variable}}@${split[3]}`
  }
  const { sink, target } = answers
  const source = {
    type: 'postgres',
    url: withoutPassword(answers.sourceUrl, 'SOURCE_PASSWORD'),
    tables: answers.tables,
  }
  const options =
    sink === 'postgres' ? { url: withoutPassword(target!, 'SINK_PASSWORD') } : sink === 'file' ? { path: target } : {}
  return { text: `${firstLine}\n${stringify({ source, sink: { type: sink, ...options } })}`, variables }
}

/** Editors complete and check the file when it can name the schema by a path inside its own folder. */
function modeline(path: string): string {
  const root = fileURLToPath(new URL(import.meta.url.includes('/dist/') ? '../..' : '..', import.meta.url))
  const schema = relative(dirname(path), resolve(root, 'docs/reference.schema.json'))
  if (schema.startsWith('..') || resolve(schema) === schema) {
    return '# For completion in editors: tidemark schema > pipeline.schema.json\n# yaml-language-server: $schema=./pipeline.schema.json'
  }
  return `# yaml-language-server: $schema=./${schema.split(sep).join('/')}`
}
