/**
 * The PostgreSQL source: one slot, one log tail, chunk readers beside it. Connections: `control` for the catalog and
 * questions, `marks` for durability (1.10 e), the monitor's, one per chunk reader, and the replication stream.
 */

import { randomBytes } from 'node:crypto'
import { type Cut, xidCut } from '../../core/cut.js'
import { parseDurationMs } from '../../core/duration.js'
import { TidemarkError } from '../../core/errors.js'
import type { KeyRange } from '../../core/key.js'
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
import { connectPg, type PgConnection, parseLsn } from '../../drivers/postgres.js'
import { type CatalogTable, makeSchema, readTables, type ServerFacts, TypeCache } from './catalog.js'
import { PgChunkSession, type PgTable } from './chunk.js'
import { DurableMark } from './durable.js'
import { keyOrder, locateKeys } from './keys.js'
import { Monitor } from './monitor.js'
import { connectionOf, type PostgresOptions } from './options.js'
import type { RelationMessage } from './pgoutput.js'
import { planKeys } from './plan.js'
import { preparePublication } from './publication.js'
import { partitionNote, readiness } from './readiness.js'
import { applicationName, checkSlot, createSlot, ownedName, requireNoSlot, serverFacts, slotBlockers } from './setup.js'
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
  readonly #publication: string
  #context!: OpenContext
  #control!: PgConnection
  #marks!: DurableMark
  #marksConnection!: PgConnection
  #monitor!: Monitor
  #server!: ServerFacts
  #catalog = new Map<number, CatalogTable>()
  #types = new TypeCache()
  #xidBase = 0n
  #walSenderTimeoutMs = 0
  #tail: PostgresTail | null = null
  #watch!: TableWatch
  #released: Position | null = null

  constructor(options: PostgresOptions, pipeline: string) {
    this.#options = options
    this.#pipeline = pipeline
    this.#slot = options['slot.name'] ?? ownedName(pipeline)
    this.#publication = options['publication.name'] ?? ownedName(pipeline)
  }

  get #connection() {
    return connectionOf(this.#options, 'source', applicationName(this.#pipeline))
  }

  async open(context: OpenContext): Promise<SourceOpen> {
    this.#context = context
    const { signal } = context
    // Runs without a checkpoint may overlap, so each has a slot name of its own.
    if (!context.durable) this.#slot = `${this.#slot.slice(0, 50)}_${randomBytes(4).toString('hex')}`
    this.#control = await connectPg(this.#connection, { signal })
    this.#marksConnection = await connectPg(this.#connection, { signal })
    this.#marks = new DurableMark(this.#marksConnection)
    this.#monitor = new Monitor(this.#connection, signal)
    this.#server = await serverFacts(this.#control)
    if (context.durable && context.first) await requireNoSlot(this.#control, this.#slot, this.#pipeline)
    const read = await readTables(this.#control, this.#options, this.#server)
    this.#watch = new TableWatch(
      this.#control,
      read.map(({ oid, schema: { id, namespace, name } }) => ({ oid, id, namespace, name })),
      { ignoreRewrites: this.#options['table.rewrites'] === 'ignore', note: context.note },
    )
    await this.#watch.resume(context.known)
    const tables = read.map((table) => this.#named(table))
    const problems = await readiness(this.#control, this.#options, this.#server, tables)
    const first = problems.find((p) => p.level === 'problem')
    if (first)
      throw new TidemarkError('postgres.not_ready', { message: `${first.subject}: ${first.message}`, fix: first.fix })
    const roots = tables.filter((t) => t.kind === 'p').map((t) => t.schema.id)
    if (roots.length > 0) context.note(partitionNote(roots).message)
    for (const table of tables) {
      this.#catalog.set(table.oid, table)
      const { generatedDropped, schema } = table
      if (generatedDropped.length > 0) {
        context.note(
          `${schema.id}: generated columns ${generatedDropped.join(', ')} are left out; the log of this server version lacks them`,
        )
      }
    }
    // The timeline that is being written: the control file names it only after the promotion's first checkpoint.
    const [[system, timeline, xid, version, limit]] = (await this.#control.query(
      `select (select system_identifier::text from pg_control_system()), ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int::text,
        pg_snapshot_xmax(pg_current_snapshot())::text, current_setting('server_version'),
        (select setting from pg_settings where name = 'wal_sender_timeout')`,
    )) as [[string, string, string, string, string]]
    this.#xidBase = BigInt(xid)
    this.#walSenderTimeoutMs = Number(limit)
    const { host, port, database } = this.#connection
    return {
      // 1.10 k: a new timeline is another identity and stops the pipeline; a failover that a synced slot survived is not
      // told apart from one that lost commits yet, so none is accepted.
      identity: { systemIdentifier: system, timeline, database, slot: this.#slot },
      tables: tables.map((t) => toSourceTable(t)),
      server: `PostgreSQL ${version} at ${host}:${port}/${database}`,
      chunkRows: this.#options['scan.incremental.snapshot.chunk.size'],
    }
  }

  async prepare(_options: Abortable): Promise<void> {
    const { durable, known } = this.#context
    await preparePublication(this.#control, {
      name: this.#publication,
      tables: [...this.#catalog.values()],
      server: this.#server,
      given: this.#options['publication.name'] !== undefined,
      known: new Set(known.keys()),
      keep: !durable,
    })
  }

  async createLog({ signal }: Abortable): Promise<Position> {
    const { durable, note } = this.#context
    if (!durable) {
      const position = await this.#newTail().start(null, { signal })
      await this.#watch.begin()
      return position
    }
    const timeoutMs = parseDurationMs(this.#options['slot.create.timeout']) ?? 0
    const position = await createSlot(this.#control, this.#server, { name: this.#slot, timeoutMs, signal, note })
    await this.#watch.begin()
    return position
  }

  async resumeLog(position: Position, { signal }: Abortable): Promise<void> {
    await checkSlot(this.#control, this.#slot, position, { pipeline: this.#pipeline, signal, note: this.#context.note })
  }

  async *tail(position: Position, { signal }: Abortable): AsyncGenerator<LogBatch> {
    if (this.#tail === null) await this.#newTail().start(position, { signal })
    for await (const batch of this.#tail!.run({ signal })) {
      this.#watch.passed(batch)
      yield batch
    }
  }

  #newTail(): PostgresTail {
    this.#tail = new PostgresTail({
      connection: this.#connection,
      slot: this.#slot,
      publication: this.#publication,
      messages: this.#server.version >= 140_000,
      xidBase: this.#xidBase,
      walSenderTimeoutMs: this.#walSenderTimeoutMs,
      resolve: (relation) => this.#resolve(relation),
    })
    if (this.#released !== null) this.#tail.release(this.#released)
    return this.#tail
  }

  tag(table: TableId): string | null {
    return this.#watch.tag(table)
  }

  /** Columns that were renamed since the pipeline knew them say so. */
  #named(table: CatalogTable): CatalogTable {
    const { schema } = table
    const former = schema.columns.map((c) => this.#watch.formerName(schema.id, c.name))
    if (former.every((name) => name === undefined)) return table
    const columns = schema.columns.map((c, i) => (former[i] === undefined ? c : { ...c, formerName: former[i] }))
    const { database, namespace, name, key } = schema
    return { ...table, schema: makeSchema({ database, namespace, name, columns, key }) }
  }

  release(position: Position): void {
    this.#released = position
    this.#tail?.release(position)
  }

  async session({ signal }: Abortable): Promise<ChunkSession> {
    return new PgChunkSession(await connectPg(this.#connection, { signal }), this.#monitor)
  }

  async refresh(id: TableId, _options: Abortable): Promise<SourceTable> {
    const [table] = await readTables(this.#control, this.#options, this.#server, id)
    if (table === undefined) {
      throw new TidemarkError('postgres.table_gone', {
        message: `table ${id} was dropped or renamed while its rows were being read`,
        fix: 'Restore it, or take it out of `tables`.',
      })
    }
    const named = this.#named(table)
    this.#catalog.set(table.oid, named)
    return toSourceTable(named)
  }

  async plan(table: SourceTable, range: KeyRange, rows: number, count: number): Promise<readonly Key[]> {
    return planKeys(this.#control, (table as PgTable).catalog, range, rows, count)
  }

  async locate(table: SourceTable, keys: readonly Key[], bounds: readonly Key[]): Promise<ArrayLike<number>> {
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
    await this.#control.query(`select pg_logical_emit_message(false, 'tidemark', '')`)
  }

  async close(): Promise<void> {
    await this.#tail?.close()
    await this.#monitor?.close()
    for (const c of [this.#marksConnection, this.#control]) await c?.close()
  }

  /**
   * The schema of a relation as the log describes it at its place. Where that is what the catalog says now, it is the
   * very schema of the snapshot; otherwise it is made of what the message carries.
   */
  async #resolve(relation: RelationMessage): Promise<TableSchema | null> {
    const known = this.#catalog.get(relation.oid)
    if (known === undefined) return null
    const { schema } = known
    if (relation.namespace !== schema.namespace || relation.name !== schema.name) {
      throw new TidemarkError('postgres.table_renamed', {
        message: `table ${schema.id} was renamed to ${relation.namespace}.${relation.name}`,
        fix: 'Rename it back, or capture it under its new name with a new pipeline.',
      })
    }
    await this.#types.load(
      this.#control,
      relation.columns.map((c) => `${c.typeOid}`),
    )
    const types = relation.columns.map((c) => this.#types.columnType(c.typeOid, c.typmod))
    await this.#watch.look()
    const [read] = await readTables(this.#control, this.#options, this.#server, schema.id)
    const now = read === undefined ? known : this.#named(read)
    for (const table of [known, now]) {
      const same = relation.columns.length === table.schema.columns.length
      if (
        same &&
        table.schema.columns.every((c, i) => c.name === relation.columns[i]!.name && c.type.native === types[i]!.native)
      ) {
        return table.schema
      }
    }
    const columns = relation.columns.map((c, i) => {
      const old = [...now.schema.columns, ...schema.columns].find(
        (o) => o.name === c.name && o.type.native === types[i]!.native,
      )
      return old ?? { name: c.name, type: types[i]!, nullable: true, generated: false, defaultValue: null }
    })
    const key = schema.key.map((i) => columns.findIndex((c) => c.name === schema.columns[i]!.name))
    if (key.includes(-1)) {
      throw new TidemarkError('postgres.identity_changed', {
        message: `a key column of ${schema.id} was dropped or renamed while the pipeline ran`,
        fix: 'Run `tidemark drop FILE`, empty the target and start anew: keys of events before and after differ.',
      })
    }
    return makeSchema({ database: schema.database, namespace: schema.namespace, name: schema.name, columns, key })
  }
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
