/**
 * The PostgreSQL source: one slot, one log tail, chunk readers beside it. Connections: `control` for the catalog and
 * questions, `marks` for durability (1.10 e), the monitor's, one per chunk reader, and the replication stream.
 */

import { randomBytes } from 'node:crypto'
import { type Cut, xidCut } from '../../core/cut.js'
import { parseDurationMs } from '../../core/duration.js'
import { TidemarkError } from '../../core/errors.js'
import type { KeyRange } from '../../core/key.js'
import type { Places } from '../../core/located-order.js'
import type { Key, Position, TableId, TableSchema } from '../../core/model.js'
import type {
  Abortable,
  ChunkSession,
  LogBatch,
  OpenContext,
  Source,
  SourceOpen,
  SourceTable,
} from '../../core/source.js'
import { type PgConnection, parseLsn } from '../../drivers/postgres.js'
import { type CatalogTable, makeSchema, readTables, type ServerFacts } from './catalog.js'
import { idleExcludes } from './chosen-tables.js'
import { PgChunkSession, type PgTable } from './chunk.js'
import { DurableMark } from './durable.js'
import { GeneratedColumns } from './generated.js'
import { keyOrder, locateKeys } from './keys.js'
import { Monitor } from './monitor.js'
import { connectionOf, type PostgresOptions } from './options.js'
import { partitionIdentities } from './partitions.js'
import { planKeys } from './plan.js'
import { PipelinePublication } from './publication-owner.js'
import { partitionNotes, readiness } from './readiness.js'
import { Relations } from './relations.js'
import { SourceServer } from './server.js'
import {
  applicationName,
  createSlot,
  ownedName,
  placeBeforeSlots,
  requireNoSlot,
  serverFacts,
  slotBlockers,
  watchingCreation,
} from './setup.js'
import { checkSlot } from './slot-check.js'
import { PostgresTail } from './tail.js'
import { TableWatch } from './watch.js'

/** How often the wait for older transactions looks again, and when it starts to say for whom it waits (1.10 j). */
const ADMIT_POLL_MS = 250
const ADMIT_REPORT_MS = 10_000

export class PostgresSource implements Source {
  readonly connector = 'postgres'
  readonly #options: PostgresOptions
  readonly #pipeline: string
  #slot: string
  #publication!: PipelinePublication
  #context!: OpenContext
  #home!: SourceServer
  #control!: PgConnection
  #marks!: DurableMark
  #marksConnection!: PgConnection
  #monitor!: Monitor
  #server!: ServerFacts
  #catalog = new Map<number, CatalogTable>()
  #generated!: GeneratedColumns
  #relations!: Relations
  #xidBase = 0n
  #walSenderTimeoutMs = 0
  #beforeSlots = 0n
  #tail: PostgresTail | null = null
  #watch!: TableWatch
  #released: Position | null = null

  constructor(options: PostgresOptions, pipeline: string) {
    this.#options = options
    this.#pipeline = pipeline
    this.#slot = options['slot.name'] ?? ownedName(pipeline)
  }

  get #connection() {
    return connectionOf(this.#options, 'source', applicationName(this.#pipeline))
  }

  async open(context: OpenContext): Promise<SourceOpen> {
    this.#context = context
    // Runs without a checkpoint may overlap, so each has a slot name of its own.
    const suffix = context.durable ? null : randomBytes(4).toString('hex')
    if (suffix !== null) this.#slot = `${this.#slot.slice(0, 50)}_${suffix}`
    this.#publication = new PipelinePublication(this.#options['publication.name'], this.#pipeline, suffix)
    const home = await SourceServer.connect(this.#connection, context)
    this.#home = home
    this.#control = home.control
    // Queries of the catalog are estimated far too high: compiling them would take longer than running them.
    await this.#control.query('set jit = off')
    this.#marksConnection = await home.connect(context)
    this.#marks = new DurableMark(this.#marksConnection)
    this.#monitor = new Monitor(() => home.connect(context))
    this.#server = await serverFacts(this.#control)
    const accepted = await home.judge(context.saved, this.#slot, this.#server, context)
    if (context.durable && context.first) await requireNoSlot(this.#control, this.#slot, context)
    const read = await readTables(this.#control, this.#options, this.#server)
    this.#watch = new TableWatch(
      this.#control,
      read.map(({ oid, schema: { id, namespace, name } }) => ({ oid, id, namespace, name })),
      {
        version: this.#server.version,
        publication: this.#publication.name,
        without: generatedLeftOut(this.#options, this.#server),
        ignoreRewrites: this.#options['table.rewrites'] === 'ignore',
        ignorePartitions: this.#options['table.partitions'] === 'ignore',
        connect: () => home.connect(context),
        note: context.note,
      },
    )
    await this.#watch.resume(context.known)
    this.#generated = new GeneratedColumns(() => home.connect(context))
    this.#relations = new Relations({
      connection: this.#control,
      watch: this.#watch,
      generated: this.#generated,
      known: (oid) => this.#catalog.get(oid),
      read: (schema) => this.#read(schema),
    })
    const tables = read.map((table) => this.#named(table))
    const problems = await readiness(this.#control, this.#options, this.#server, tables)
    const first = problems.find((p) => p.level === 'problem')
    if (first)
      throw new TidemarkError('postgres.not_ready', { message: `${first.subject}: ${first.message}`, fix: first.fix })
    for (const table of tables) this.#catalog.set(table.oid, table)
    for (const line of leftOut(tables, this.#options)) context.note(line)
    for (const { subject, message, fix } of await idleExcludes(this.#control, this.#options))
      context.note(`${subject}: ${message}. ${fix}`)
    const [[xid, version, limit]] = (await this.#control.query(
      `select pg_snapshot_xmax(pg_current_snapshot())::text, current_setting('server_version'),
        (select setting from pg_settings where name = 'wal_sender_timeout')`,
    )) as [[string, string, string]]
    this.#xidBase = BigInt(xid)
    this.#walSenderTimeoutMs = Number(limit)
    const { host, port, database } = this.#connection
    return {
      identity: { systemIdentifier: home.run.systemIdentifier, timeline: home.timeline, database, slot: this.#slot },
      accepted,
      tables: tables.map((t) => toSourceTable(t)),
      server: `PostgreSQL ${version} at ${host}:${port}/${database}`,
      chunkRows: this.#options['scan.incremental.snapshot.chunk.size'],
    }
  }

  async prepare(_options: Abortable): Promise<void> {
    await this.#publication.prepare(this.#control, {
      tables: [...this.#catalog.values()],
      server: this.#server,
      known: new Set(this.#context.known.keys()),
      note: this.#context.note,
    })
    if (!this.#context.first) await this.#watch.joined()
    // Before the intent is written down: a successor that this does not see has fenced that.
    if (this.#context.durable && !this.#context.saved?.position)
      this.#beforeSlots = await placeBeforeSlots(this.#control)
  }

  async createLog({ signal }: Abortable): Promise<Position> {
    const { durable, note } = this.#context
    const timeoutMs = parseDurationMs(this.#options['slot.create.timeout']) ?? 0
    const slot = { name: this.#slot, timeoutMs, signal, note }
    const since = this.#beforeSlots
    // A temporary slot is made by the stream's own connection.
    const position = durable
      ? await createSlot(this.#control, this.#server, { ...slot, since, pipeline: this.#pipeline })
      : await watchingCreation(this.#connection, slot, (making) => this.#newTail().start(null, { signal, making }))
    await this.#watch.begin()
    return position
  }

  async resumeLog(position: Position, { signal }: Abortable): Promise<void> {
    const { fenced, note } = this.#context
    await checkSlot(this.#control, this.#slot, position, { pipeline: this.#pipeline, fenced, signal, note })
  }

  async *tail(position: Position, { signal }: Abortable): AsyncGenerator<LogBatch> {
    if (this.#tail === null) await this.#newTail().start(position, { signal })
    for await (const batch of this.#tail!.run({ signal })) {
      this.#watch.passed(batch)
      yield await this.#generated.complete(batch, { signal })
    }
  }

  #newTail(): PostgresTail {
    this.#tail = new PostgresTail({
      connection: this.#connection,
      slot: this.#slot,
      publication: this.#publication.name,
      messages: this.#server.version >= 140_000,
      xidBase: this.#xidBase,
      walSenderTimeoutMs: this.#walSenderTimeoutMs,
      resolve: (relation) => this.#relations.resolve(relation),
      verify: (run) => this.#home.verify(run),
    })
    if (this.#released !== null) this.#tail.release(this.#released)
    return this.#tail
  }

  tag(table: TableId): string | null {
    return this.#watch.tag(table)
  }

  /** Columns that were renamed or added since the pipeline knew them say so. */
  #named(table: CatalogTable): CatalogTable {
    const { schema, fills } = table
    const columns = schema.columns.map((column) => {
      const formerName = this.#watch.formerName(schema.id, column.name)
      if (formerName !== undefined) return { ...column, formerName }
      const filled = this.#watch.filled(schema.id, column.name, fills.get(column.name))
      return filled === undefined ? column : { ...column, filled }
    })
    if (columns.every((column, i) => column === schema.columns[i])) return table
    const { database, namespace, name, key } = schema
    return { ...table, schema: makeSchema({ database, namespace, name, columns, key }) }
  }

  release(position: Position): void {
    this.#released = position
    this.#tail?.release(position)
  }

  async session(options: Abortable): Promise<ChunkSession> {
    return new PgChunkSession(await this.#home.connect(options), this.#monitor)
  }

  async refresh(id: TableId, _options: Abortable): Promise<SourceTable> {
    const known = [...this.#catalog.values()].find(({ schema }) => schema.id === id)
    if (known) await this.#watch.lookAt(id)
    const table = known && (await this.#read(known.schema))
    if (table === undefined) {
      throw new TidemarkError('postgres.table_gone', {
        message: `table ${id} was dropped or renamed while its rows were being read`,
        fix: 'Restore it, or take it out of `tables`.',
      })
    }
    this.#catalog.set(table.oid, table)
    return toSourceTable(table)
  }

  async #read(schema: TableSchema): Promise<CatalogTable | undefined> {
    const [table] = await readTables(this.#control, this.#options, this.#server, schema)
    return table && this.#named(table)
  }

  async plan(table: SourceTable, range: KeyRange, rows: number, count: number): Promise<readonly Key[]> {
    return planKeys(this.#control, (table as PgTable).catalog, range, rows, count)
  }

  async locate(table: SourceTable, keys: readonly Key[], bounds: readonly Key[]): Promise<Places> {
    return locateKeys(this.#control, (table as PgTable).catalog, keys, bounds)
  }

  async visible(_options: Abortable): Promise<Cut> {
    const [[snapshot]] = (await this.#control.query('select pg_current_snapshot()::text')) as [[string]]
    const [xmin, xmax, xip] = snapshot.split(':')
    return xidCut({ xmin: BigInt(xmin!), xmax: BigInt(xmax!), xip: xip ? xip.split(',').map(BigInt) : [] }, 0n)
  }

  durable(_options: Abortable): Promise<void> {
    return this.#marks.flush()
  }

  async logEnd(_options: Abortable): Promise<bigint> {
    // Every commit before this is below it, and the mark's own commit behind it brings the tail here.
    const [[lsn]] = (await this.#control.query('select pg_current_wal_insert_lsn()::text')) as [[string]]
    await this.#marks.flush()
    return parseLsn(lsn)
  }

  /**
   * 1.10 j: changes that a transaction made before its table joined the publication are in no log message, so the first
   * cut waits until every transaction that old is over and shows what it did.
   */
  async admit(tables: readonly TableId[], { signal }: Abortable): Promise<void> {
    const [[bar]] = (await this.#control.query('select pg_snapshot_xmax(pg_current_snapshot())::text')) as [[string]]
    for (let reported = Date.now(); ; ) {
      const [[xmin]] = (await this.#control.query('select pg_snapshot_xmin(pg_current_snapshot())::text')) as [[string]]
      if (BigInt(xmin) >= BigInt(bar)) return
      if (Date.now() - reported > ADMIT_REPORT_MS) {
        reported = Date.now()
        const blockers = await slotBlockers(this.#control)
        this.#context.note(`reading ${tables.join(', ')} waits for older transactions: ${blockers.join('; ')}`)
      }
      signal.throwIfAborted()
      await new Promise((resolve) => setTimeout(resolve, ADMIT_POLL_MS))
    }
  }

  /** Makes the log move in this database, so that positions advance while captured tables are idle (T60). */
  async heartbeat(_options: Abortable): Promise<void> {
    await this.#watch.look()
    const [partition] = await partitionIdentities(this.#control, [...this.#catalog.values()])
    if (partition) throw new TidemarkError('postgres.identity_changed', { ...partition, at: 'source.tables' })
    await this.#control.query(`select pg_logical_emit_message(false, 'tidemark', '')`)
  }

  async close(): Promise<void> {
    await this.#tail?.close()
    await this.#monitor?.close()
    await this.#generated?.close()
    await this.#publication?.close()
    for (const c of [this.#marksConnection, this.#control]) await c?.close()
  }
}

/** What of the tables is not copied, for people. */
function leftOut(tables: readonly CatalogTable[], options: PostgresOptions): string[] {
  const generated = tables.filter((t) => t.generatedDropped.length > 0)
  return [
    ...partitionNotes(tables, options).map(({ message }) => message),
    ...generated.map(
      ({ schema, generatedDropped }) =>
        `${schema.id}: generated columns ${generatedDropped.join(', ')} are left out, because the log lacks them; generated.columns: compute brings them`,
    ),
  ]
}

/** Kinds of generated columns, as in pg_attribute.attgenerated, that no row has. */
function generatedLeftOut(options: PostgresOptions, { generatedInLog }: ServerFacts): string[] {
  if (options['generated.columns'] === 'compute') return []
  return generatedInLog ? ['v'] : ['s', 'v']
}

function toSourceTable(catalog: CatalogTable): PgTable {
  return {
    catalog,
    schema: catalog.schema,
    order: keyOrder(catalog.key),
    estimatedRows: catalog.rows,
    estimatedBytes: catalog.bytes,
  }
}
