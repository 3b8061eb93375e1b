/** Connectors without servers, shaped like the real ones, for tests of configuration and command line. */
import { z } from 'zod'
import type { Registry } from '../../config/registry.js'
import { defineSink, defineSource, type Finding, type SinkDefinition } from '../../core/define.js'
import type { TableSchema } from '../../core/model.js'
import type { Sink } from '../../core/sink.js'
import type { Source } from '../../core/source.js'

export interface Fakes {
  readonly registry: Registry
  /** What was called, in order. */
  readonly calls: string[]
  sourceFindings: Finding[]
  sinkFindings: Finding[]
  checkpoint: string | null
  /** What the source captures. */
  tables: TableSchema[]
  /** What the sinks' check was told. */
  checked: unknown
  /** What of the sinks' options does not fit the tables. */
  mistakes: SinkDefinition<unknown>['tableMistakes']
}

const database = {
  url: z.string().optional().describe('Where the database is, as a URL.'),
  hostname: z.string().optional(),
  port: z.number().int().min(1).max(65_535).default(5432),
  username: z.string().optional(),
  password: z.string().optional(),
  database: z.string().optional(),
}

function urlOrParts(
  value: { url?: string | undefined; hostname?: string | undefined },
  context: z.RefinementCtx,
): void {
  if (value.url !== undefined && value.hostname !== undefined) {
    context.addIssue({ code: 'custom', path: ['url'], message: 'give url or hostname, not both' })
  }
  if (value.url === undefined && value.hostname === undefined) {
    context.addIssue({ code: 'custom', message: 'give url, or hostname with port, username, password and database' })
  }
}

export const fakeSourceOptions = z
  .strictObject({
    ...database,
    tables: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]).describe('Tables to copy.'),
    'slot.name': z.string().optional(),
    'scan.startup.mode': z.enum(['initial', 'latest-offset', 'snapshot']).default('initial'),
    'heartbeat.interval': z.string().optional(),
    'publication.create': z.boolean().default(true),
  })
  .superRefine(urlOrParts)

export function fakeConnectors(): Fakes {
  const calls: string[] = []
  const fakes: Fakes = {
    calls,
    sourceFindings: [],
    sinkFindings: [],
    checkpoint: null,
    tables: [],
    checked: null,
    mistakes: undefined,
    registry: { sources: [], sinks: [] },
  }
  const source = defineSource<unknown>({
    connector: 'postgres',
    summary: 'A fake source.',
    options: fakeSourceOptions,
    create: () =>
      ({
        connector: 'postgres',
        open: async () => ({
          identity: { database: 'd' },
          tables: fakes.tables.map((schema) => ({ schema })),
          server: 'fake',
        }),
        close: async () => {},
      }) as unknown as Source,
    check: async () => fakes.sourceFindings,
    status: async () => fakes.sourceFindings,
    drop: async () => {
      calls.push('source.drop')
      return ['dropped slot tidemark_x']
    },
  })
  const sink = (connector: string, options: z.ZodType<unknown>, guarantee: Sink['guarantee']) =>
    defineSink<unknown>({
      connector,
      summary: 'A fake sink.',
      options,
      tableMistakes: (options, context) => fakes.mistakes?.(options, context) ?? null,
      create: () => ({ connector, guarantee, completesMoves: false }) as unknown as Sink,
      check: async (_, context) => {
        fakes.checked = context
        return fakes.sinkFindings
      },
      readCheckpoint: async () => fakes.checkpoint,
      drop: async () => {
        calls.push(`${connector}.drop`)
        return []
      },
    })
  const sinks = [
    sink('stdout', z.strictObject({ 'value.format': z.enum(['debezium-json', 'row-json']).optional() }), 'none'),
    sink('file', z.strictObject({ path: z.string().min(1).describe('The folder.') }), 'exactly-once'),
    sink(
      'postgres',
      z.strictObject({ ...database, schema: z.string().optional() }).superRefine(urlOrParts),
      'exactly-once',
    ),
  ]
  return Object.assign(fakes, { registry: { sources: [source], sinks } })
}
