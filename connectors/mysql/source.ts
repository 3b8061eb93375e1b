/**
 * The MySQL and MariaDB source: one binlog reader, chunk readers beside it. Connections: `control` for the catalog and questions,
 * one per chunk reader, and the binlog's own two.
 */
import { type Cut, positionCut } from '../../core/cut.js'
import { TidemarkError } from '../../core/errors.js'
import type { KeyRange } from '../../core/key.js'
import type { Places } from '../../core/located-order.js'
import type { Key, Position, TableId } from '../../core/model.js'
import type {
  Abortable,
  ChunkSession,
  LogBatch,
  OpenContext,
  Source,
  SourceOpen,
  SourceTable,
} from '../../core/source.js'
import { connectMysql, MYSQL_ERROR, type MysqlConnection, type MysqlOptions, mysqlErrno } from '../../drivers/mysql.js'
import { CapturedTables } from './captured.js'
import { type CatalogTable, readTable, readTables } from './catalog.js'
import { loadCharsets } from './charsets.js'
import { MysqlChunkSession, type MysqlTable } from './chunk.js'
import { ColumnHistory } from './column-history.js'
import { GtidSet } from './gtid.js'
import { keyColumns, locateKeys, mysqlKeyOrder } from './keys.js'
import { type MysqlSourceOptions, mysqlConnectionOf } from './options.js'
import { planKeys } from './plan.js'
import { baseOn, formatMysqlPosition, type MysqlPosition, ordinalOf, parseMysqlPosition } from './position.js'
import { cascades, problemsOf } from './readiness.js'
import { requireLog } from './resume.js'
import { type LogPlace, logEndOf, readerId, readServer, SESSION_SQL, type ServerFacts } from './server.js'
import { MysqlTail } from './tail.js'

const NO_SUCH_THREAD = 1094
/** How often, and how long, the log is waited for that says what became of a column. */
const AHEAD_POLL_MS = 50
const AHEAD_MS_MAX = 60_000
/** XA transactions that an error lists. */
const PREPARED_SHOWN_MAX = 5
/** Where the first event of a file lies. */
const FILE_BEGIN = 4

export class MysqlSource implements Source {
  readonly connector = 'mysql'
  readonly #options: MysqlSourceOptions
  readonly #pipeline: string
  #control!: MysqlConnection
  #server!: ServerFacts
  #tables!: CapturedTables
  #history!: ColumnHistory
  #base = 0n
  #tail: MysqlTail | null = null

  constructor(options: MysqlSourceOptions, pipeline: string) {
    this.#options = options
    this.#pipeline = pipeline
  }

  get #where(): MysqlOptions {
    return mysqlConnectionOf(this.#options, 'source', `tidemark ${this.#pipeline}`)
  }

  async #connect({ signal }: Abortable): Promise<MysqlConnection> {
    const connection = await connectMysql(this.#where, { signal })
    try {
      await connection.query(SESSION_SQL)
      return connection
    } catch (error) {
      connection.destroy()
      throw error
    }
  }

  async open(context: OpenContext): Promise<SourceOpen> {
    this.#control = await this.#connect(context)
    const server = await readServer(this.#control)
    this.#server = server
    const accepted = this.#judge(context)
    const tables = await readTables(this.#control, this.#options, server)
    const findings = [...problemsOf(server, tables), ...(await cascades(this.#control, server, tables, this.#options))]
    const [first] = findings.filter(({ level }) => level === 'problem')
    if (first) {
      throw new TidemarkError('mysql.not_ready', { message: `${first.subject}: ${first.message}`, fix: first.fix })
    }
    const ignoreRewrites = this.#options['table.rewrites'] === 'ignore'
    this.#history = new ColumnHistory({ ignoreRewrites })
    this.#tables = new CapturedTables({
      server,
      history: this.#history,
      ignoreRewrites,
      read: (schema) => readTable(this.#control, server, schema),
      charsets: (names) => loadCharsets(this.#control, names),
      changed: () => {},
    })
    const described = tables.map((table) => {
      this.#history.start(table, context.known.get(table.schema.id) ?? null)
      return this.#history.guess(table)
    })
    for (const table of described) this.#tables.add(table)
    const { host, port } = this.#where
    return {
      identity: { server: server.identity },
      accepted,
      tables: described.map(toSourceTable),
      server: `${server.mariadb ? 'MariaDB' : 'MySQL'} ${server.version} at ${host}:${port}`,
      chunkRows: this.#options['scan.incremental.snapshot.chunk.size'],
    }
  }

  /**
   * Rule k: another server of the same topology is followed by GTID, if nothing that the checkpoint holds depends on the places of
   * the last one's log. What it must have and not have purged is looked at by resumeLog().
   */
  #judge({ saved, note }: OpenContext): string[] {
    if (!saved?.position) return []
    const { identity, gtids } = this.#server
    const from = parseMysqlPosition(saved.position)
    this.#base = baseOn(identity, from)
    if (from.server === identity) return []
    const placeless = gtids && from.gtids !== null && from.inside === null && saved.shown <= ordinalOf(from.base, from)
    if (!placeless) return []
    note(`the server is another one: ${identity} instead of ${from.server}; going on by GTID`)
    return ['server']
  }

  /** The log has every table already. */
  async prepare(_options: Abortable): Promise<void> {}

  /**
   * Where everything before is visible to every later SELECT. A GTID server says what is by its set, and the log's file from its
   * beginning bounds what is not; a place that is the log's end may lie behind transactions that nobody sees yet.
   */
  async createLog(_options: Abortable): Promise<Position> {
    const { identity, cut } = this.#server
    await this.#requireNoPrepared()
    const begin = (place: LogPlace, gtids: string | null) => {
      const position: MysqlPosition = { server: identity, ...place, base: 0n, gtids, inside: null, last: null }
      return formatMysqlPosition(position)
    }
    if (cut === 'gtid') {
      const { file } = await logEndOf(this.#control, this.#server)
      return begin({ file, at: FILE_BEGIN }, (await this.#executed()).toString())
    }
    if (cut === 'margin') return begin(await logEndOf(this.#control, this.#server), null)
    const place = await this.#snapshotPlace()
    if (!this.#server.mariadb) return begin(place, null)
    const [[gtids]] = (await this.#control.query(`SELECT BINLOG_GTID_POS('${place.file}', ${place.at})`)) as [
      [string | null],
    ]
    return begin(place, gtids ?? '')
  }

  /** Rule c: rows that were prepared before are in no part of the log that will be read, and in no SELECT. */
  async #requireNoPrepared(): Promise<void> {
    try {
      const rows = await this.#control.query('XA RECOVER')
      if (rows.length === 0) return
      const names = rows.slice(0, PREPARED_SHOWN_MAX).map((row) => row.at(-1))
      throw new TidemarkError('mysql.xa', {
        message: `${rows.length} XA transactions are prepared and neither committed nor rolled back: ${names.join(', ')}`,
        fix: 'XA COMMIT or XA ROLLBACK them, then start the pipeline.',
        retriable: true,
      })
    } catch (error) {
      // MySQL shows them only to users with XA_RECOVER_ADMIN; to others the commit of an unknown one stops the tail.
      if (mysqlErrno(error) !== MYSQL_ERROR.xaRecover) throw error
    }
  }

  async #executed(): Promise<GtidSet> {
    const [[executed]] = (await this.#control.query('SELECT @@GLOBAL.gtid_executed')) as [[string]]
    return GtidSet.parse(executed)
  }

  /** MariaDB, Percona: the place that a snapshot taken now shows everything before, and nothing behind. */
  async #snapshotPlace(): Promise<LogPlace> {
    const results = await this.#control.queries(
      `START TRANSACTION WITH CONSISTENT SNAPSHOT; SHOW STATUS LIKE 'binlog_snapshot_%'; ROLLBACK`,
    )
    const status = new Map(results.flat().map(([name, value]) => [name!.toLowerCase(), value!]))
    return { file: status.get('binlog_snapshot_file')!, at: Number(status.get('binlog_snapshot_position')) }
  }

  async resumeLog(position: Position, { signal }: Abortable): Promise<void> {
    await requireLog(this.#control, this.#server, parseMysqlPosition(position), {
      where: this.#where,
      reader: this.#reader,
      signal,
    })
  }

  get #reader(): { readonly serverId: number; readonly uuid: string } {
    const made = readerId(this.#pipeline, this.#server.identity)
    return { ...made, serverId: this.#options['server-id'] ?? made.serverId }
  }

  async *tail(position: Position, { signal }: Abortable): AsyncGenerator<LogBatch> {
    const { serverId, uuid } = this.#reader
    this.#base = baseOn(this.#server.identity, parseMysqlPosition(position))
    this.#tail = new MysqlTail({
      connection: this.#where,
      tls: this.#control.tls,
      server: this.#server,
      tables: this.#tables,
      serverId,
      uuid,
    })
    yield* this.#tail.run(position, { signal })
  }

  tag(table: TableId): string | null {
    return this.#history.tag(table)
  }

  /** The server keeps its log by its own rules. */
  release(_position: Position): void {}

  async session(options: Abortable): Promise<ChunkSession> {
    return new MysqlChunkSession(await this.#connect(options), {
      facts: this.#server,
      marginMs: this.#options['visibility.margin'],
      ordinal: (place) => ordinalOf(this.#base, place),
      isCurrent: (catalog) => this.#history.isCurrent(catalog),
      cancel: (threadId) => this.#cancel(threadId),
      verify: (connection) => this.#verify(connection),
    })
  }

  async #cancel(threadId: number): Promise<void> {
    try {
      await this.#control.query(`KILL QUERY ${threadId}`)
    } catch (error) {
      if (mysqlErrno(error) !== NO_SUCH_THREAD) throw error
    }
  }

  /** Rule k: tail, low, SELECT and high run on one server. */
  async #verify(connection: MysqlConnection): Promise<void> {
    const { identity, mariadb } = this.#server
    const [[now]] = (await connection.query(
      mariadb || !this.#server.variables.has('server_uuid')
        ? `SELECT CONCAT(@@server_id, '@', @@hostname, ':', @@port)`
        : 'SELECT @@server_uuid',
    )) as [[string]]
    if (now === identity) return
    throw new TidemarkError('mysql.connection', {
      message: `the address now leads to server ${now}, the log is that of ${identity}`,
      fix: 'Point the source at one server, not at a proxy or balancer.',
      retriable: true,
    })
  }

  /** Waits until the log has said what became of columns that are gone: which of the new ones are only new names. */
  async refresh(id: TableId, { signal }: Abortable): Promise<SourceTable> {
    const known = this.#tables.get(id)
    for (const begun = Date.now(); ; await sleep(AHEAD_POLL_MS)) {
      signal.throwIfAborted()
      const table = known && (await readTable(this.#control, this.#server, known.schema))
      if (table === undefined) {
        throw new TidemarkError('mysql.table_gone', {
          message: `table ${id} was dropped or renamed while its rows were being read`,
          fix: 'Restore it, or take it out of `tables`.',
        })
      }
      if (this.#history.isAhead(table) && Date.now() - begun < AHEAD_MS_MAX) continue
      const described = this.#history.apply(table)
      this.#tables.add(described)
      return toSourceTable(described)
    }
  }

  async plan(table: SourceTable, range: KeyRange, rows: number, count: number): Promise<readonly Key[]> {
    return planKeys(this.#control, (table as MysqlTable).catalog, range, rows, count)
  }

  async locate(table: SourceTable, keys: readonly Key[], bounds: readonly Key[]): Promise<Places> {
    return locateKeys(this.#control, keyColumns((table as MysqlTable).catalog), keys, bounds)
  }

  /** What a SELECT that begins now shows at least. */
  async visible({ signal }: Abortable): Promise<Cut> {
    const { cut } = this.#server
    if (cut === 'gtid') return (await this.#executed()).cut(0n)
    if (cut === 'snapshot') return positionCut(ordinalOf(this.#base, await this.#snapshotPlace()) - 1n)
    const place = await logEndOf(this.#control, this.#server)
    await new Promise((resolve) => setTimeout(resolve, signal.aborted ? 0 : this.#options['visibility.margin']))
    return positionCut(ordinalOf(this.#base, place) - 1n)
  }

  /** Rule j: under sync_binlog = 1 what is visible is durable; readiness.ts says what else is worth. */
  async durable(_options: Abortable): Promise<void> {}

  async logEnd(_options: Abortable): Promise<bigint> {
    return ordinalOf(this.#base, await logEndOf(this.#control, this.#server)) - 1n
  }

  async close(): Promise<void> {
    await this.#tail?.close()
    await this.#control?.close()
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

function toSourceTable(catalog: CatalogTable): MysqlTable {
  return {
    catalog,
    schema: catalog.schema,
    order: mysqlKeyOrder(keyColumns(catalog)),
    estimatedRows: catalog.rows,
    estimatedBytes: catalog.bytes,
  }
}
