/**
 * The registry of error codes. docs/errors.md is generated from it (npm run docs) and a test holds both equal.
 * `exit` is the process's exit code: 1 failed while running, 2 bad usage or configuration, 3 not ready.
 * Keep each area's codes together and sorted.
 */
interface CodeInfo {
  readonly exit: 1 | 2 | 3
  /** One sentence for docs/errors.md: when a user meets it. */
  readonly when: string
}

export const ERROR_CODES = {
  // core
  'core.bug': {
    exit: 1,
    when: 'Tidemark broke one of its own rules. Nothing is lost: restart resumes from the last checkpoint.',
  },
  'core.checkpoint_unreadable': {
    exit: 3,
    when: 'The checkpoint in the sink was written by a newer version, or is damaged.',
  },
  'core.identity_changed': {
    exit: 3,
    when: 'The checkpoint belongs to another server, database or slot than the one configured.',
  },
  'core.key_outside_chunks': {
    exit: 1,
    when: 'A key belongs to no chunk of its table, which only a bug or a changed collation explains.',
  },
  'core.log_ended': {
    exit: 1,
    when: 'The source closed the log stream; the pipeline starts again from its checkpoint.',
  },
  'core.stream_broken': {
    exit: 1,
    when: 'A change stream lost its source while the caller worked on a batch; start it again from the saved checkpoint.',
  },
  // config
  'config.invalid': {
    exit: 2,
    when: 'The pipeline file or a --set option has mistakes. All of them are listed with file, line and column.',
  },
  'config.route': {
    exit: 2,
    when: 'A route applies to no captured table, sends one table to several targets, or two tables into one target without `merge`.',
  },
  'config.merge': {
    exit: 2,
    when: 'Tables that a route merges do not fit together: other keys, types of which neither holds the other, one shard identity.',
  },
  'config.merged_truncate': {
    exit: 3,
    when: 'A table that a route merges with others was truncated; its target is not emptied.',
  },
  'config.state_file': {
    exit: 3,
    when: 'The file of `pipeline.state` cannot be read or written.',
  },
  'config.table_pattern': {
    exit: 2,
    when: 'The name or pattern of a table cannot be read.',
  },
  'config.transform': {
    exit: 2,
    when: 'A transform applies to no captured table, names a column that its table does not have, or changes a key column in a way that loses rows.',
  },
  'config.unreadable': {
    exit: 2,
    when: 'The pipeline file cannot be read.',
  },
  // cli
  'cli.demo_unavailable': {
    exit: 3,
    when: 'The demo has no PostgreSQL server binaries to run, or cannot get them.',
  },
  'cli.exists': {
    exit: 2,
    when: 'The file that `tidemark init` would write already exists.',
  },
  'cli.left_at_once': {
    exit: 1,
    when: 'A second signal ended `tidemark sync` before it reached a checkpoint. It stands in the report only.',
  },
  'cli.report': {
    exit: 2,
    when: 'The file of `--report` cannot be written, or is no regular file. It is looked at before the run starts.',
  },
  'cli.usage': {
    exit: 2,
    when: 'A command was called with options that it does not know, or without those that it needs.',
  },
  // postgres driver and source
  'postgres.auth': { exit: 3, when: 'The server refused the user or the password.' },
  'postgres.chunk_failed': { exit: 1, when: 'Reading rows of a table failed; the server says why.' },
  'postgres.connection': { exit: 3, when: 'The server cannot be reached, or the connection was lost.' },
  'postgres.no_database': { exit: 3, when: 'The database does not exist on the server.' },
  'postgres.generated_column': {
    exit: 3,
    when: 'A generated column that the log leaves out cannot be computed from a change, or is not one any more.',
  },
  'postgres.identity_changed': {
    exit: 3,
    when: 'The key or the REPLICA IDENTITY of a captured table was changed after it was copied.',
  },
  'postgres.no_tables': {
    exit: 2,
    when: 'A pattern in `tables` matches no table of the database, or `tables.exclude` leaves none.',
  },
  'postgres.partitions': {
    exit: 3,
    when: 'A partition was attached with rows, detached, dropped, truncated or made UNLOGGED, which no log shows; `table.partitions: ignore` lets it pass.',
  },
  'postgres.permission': { exit: 3, when: 'The user lacks a privilege; `tidemark check` prints the GRANT.' },
  'postgres.position_lost': {
    exit: 3,
    when: 'The log no longer holds what lies behind the checkpoint: the slot was lost, replaced or moved on, or the server restored.',
  },
  'postgres.query': { exit: 1, when: 'The server refused a statement; its own message is passed on.' },
  'postgres.no_free_slot': { exit: 3, when: 'All replication slots of the server are taken.' },
  'postgres.not_ready': {
    exit: 3,
    when: 'The server or a table lacks something that capture needs; the message has the SQL that fixes it.',
  },
  'postgres.publication': {
    exit: 3,
    when: 'The publication is missing or incomplete, was changed behind the copy, or may not be made by this user.',
  },
  'postgres.session': {
    exit: 3,
    when: 'A session lacks the settings that it was opened with, as behind a transaction pooler.',
  },
  'postgres.slot': { exit: 3, when: 'The replication slot is gone, was invalidated, or belongs to something else.' },
  'postgres.slot_blocked': { exit: 3, when: 'The slot could not be made because older transactions stayed open.' },
  'postgres.slot_held': { exit: 3, when: 'Another process reads the replication slot.' },
  'postgres.rewritten': {
    exit: 3,
    when: 'DDL changed what rows that were copied already hold, which no log shows.',
  },
  'postgres.table_recreated': {
    exit: 3,
    when: 'A captured table was dropped or renamed and another one made under its name.',
  },
  'postgres.table_gone': { exit: 3, when: 'A captured table was dropped or renamed.' },
  'postgres.table_renamed': { exit: 1, when: 'A captured table was renamed while the pipeline ran.' },
  'postgres.timeline': {
    exit: 3,
    when: 'The server was failed over or restored, and not everything that was copied is certain to be in it.',
  },
  'postgres.tls': {
    exit: 3,
    when: 'The server offers no TLS, or its certificate or ours was refused; the message says which.',
  },
  'postgres.tls_options': {
    exit: 2,
    when: '`sslmode`, `sslrootcert`, `sslcert` and `sslkey` do not go together, or one of the files cannot be used.',
  },
  'postgres.url': { exit: 2, when: 'A connection URL cannot be understood.' },
  // kafka driver, sink and source
  'kafka.auth': {
    exit: 3,
    when: 'The broker refused the user, the password or the token, or does not offer the mechanism.',
  },
  'kafka.bad_message': {
    exit: 1,
    when: 'A message of a topic that is read is not what `value.format` says, or lacks what a change needs; topic, partition and offset are named.',
  },
  'kafka.checkpoint_topic': {
    exit: 3,
    when: "The pipeline's checkpoint topic has the wrong shape, belongs to another pipeline, or holds what nobody understands.",
  },
  'kafka.claim_check': { exit: 1, when: 'The value of a large record could not be written to its file.' },
  'kafka.connection': { exit: 3, when: 'No broker can be reached, or an address cannot be understood.' },
  'kafka.epoch_refused': {
    exit: 1,
    when: 'Kafka refused the epoch of the producer: another process took the pipeline over, or a transaction timed out. The pipeline finds out which.',
  },
  'kafka.no_topics': { exit: 3, when: 'No topic of the cluster that this user may see is meant by `topics`.' },
  'kafka.offset_out_of_range': { exit: 3, when: 'A topic does not hold the wanted offset any more.' },
  'kafka.outcome_unknown': {
    exit: 1,
    when: 'Records or a commit were sent and Kafka did not say in time what became of them; a restart reads it back.',
  },
  'kafka.partitions_changed': {
    exit: 3,
    when: 'A topic has another number of partitions than before, so that keys would move.',
  },
  'kafka.permission': { exit: 3, when: 'The user lacks an ACL; the message names what for.' },
  'kafka.record_refused': {
    exit: 1,
    when: 'A topic takes a record by no means, e.g. a compacted topic one without a key: a truncate, or a row of a table without a key.',
  },
  'kafka.record_too_large': { exit: 1, when: 'A single record is larger than max.message.bytes of its topic.' },
  'kafka.refused': { exit: 3, when: 'Kafka refused a request; its own words are passed on.' },
  'kafka.rejected': {
    exit: 1,
    when: 'Kafka refused records; the transaction is given up and what it held is sent again.',
  },
  'kafka.tls': { exit: 3, when: 'The TLS handshake failed: the certificate of the broker or ours was refused.' },
  'kafka.tls_options': { exit: 2, when: 'A certificate or key for TLS cannot be read.' },
  'kafka.topic_changed': {
    exit: 3,
    when: 'A table would go to another topic than before, or its messages would have another format: consumers would miss or not understand them.',
  },
  'kafka.topic_collision': {
    exit: 2,
    when: 'One topic would have two roles, or get two tables only because of characters that Kafka does not allow.',
  },
  'kafka.topic_missing': { exit: 3, when: 'A topic does not exist.' },
  'kafka.topic_recreated': {
    exit: 3,
    when: 'A topic was deleted and made again under its name: offsets of a topic that is read mean other records, and a topic that is written lacks the messages before.',
  },
  'kafka.transaction_aborted': { exit: 1, when: 'A transaction was given up before its commit.' },
  'kafka.transaction_hanging': {
    exit: 3,
    when: 'A transaction that somebody else left open hides committed records; the message names its producer.',
  },
  'kafka.transaction_timed_out': {
    exit: 1,
    when: 'Kafka aborted a transaction of the pipeline because it was open for longer than transaction.timeout.ms; its records are sent again.',
  },
  'kafka.transaction_timeout': {
    exit: 3,
    when: "transaction.timeout.ms is above the brokers' transaction.max.timeout.ms.",
  },
  'kafka.truncate': {
    exit: 3,
    when: 'A topic of several partitions holds a truncate, and nothing says which changes of the other partitions came before it.',
  },
  'kafka.unavailable': {
    exit: 1,
    when: 'The cluster was busy, or a partition without a leader, for longer than is waited.',
  },
  'kafka.unreadable': {
    exit: 1,
    when: 'What a broker sent, or a topic holds, is damaged or of a format that is not known.',
  },
  'kafka.version': { exit: 3, when: 'The brokers are too old, or lack a request that is needed.' },
  // mysql driver and source
  'mysql.auth': { exit: 3, when: 'The server refused the user or the password.' },
  'mysql.binlog_event': {
    exit: 1,
    when: 'The binlog holds an event that cannot be applied exactly: a statement instead of rows, an unknown kind, or a damaged one.',
  },
  'mysql.chunk_failed': { exit: 1, when: 'Reading rows of a table failed; the server says why.' },
  'mysql.connection': { exit: 3, when: 'The server cannot be reached, or the connection was lost.' },
  'mysql.no_tables': {
    exit: 2,
    when: 'A pattern in `tables` matches no table of the server, or `tables.exclude` leaves none.',
  },
  'mysql.not_ready': {
    exit: 3,
    when: 'The server or a table lacks something that capture needs; the message has the SQL that fixes it.',
  },
  'mysql.permission': { exit: 3, when: 'The user lacks a privilege; `tidemark check` prints the GRANT.' },
  'mysql.position_lost': {
    exit: 3,
    when: 'The binlog no longer holds what lies behind the checkpoint: it was purged, reset, or the server lost its end or is another one.',
  },
  'mysql.query': { exit: 1, when: 'The server refused a statement; its own message is passed on.' },
  'mysql.server_id': {
    exit: 3,
    when: 'Another reader of the binlog uses the same server_id, and each ends the other.',
  },
  'mysql.table_changed': {
    exit: 3,
    when: 'DDL changed a captured table in a way that no row event shows, or that cannot be followed without row metadata.',
  },
  'mysql.table_gone': { exit: 3, when: 'A captured table was dropped or renamed.' },
  'mysql.tls': { exit: 3, when: 'A file of the TLS options cannot be used.' },
  'mysql.url': { exit: 2, when: 'A connection URL cannot be understood.' },
  'mysql.xa': { exit: 3, when: 'An XA transaction cannot be followed; the message has its id.' },
  // sinks
  'sink.stdout_closed': { exit: 1, when: 'Standard output was closed by its reader; the command ends cleanly.' },
  'sink.stdout_failed': {
    exit: 1,
    when: 'Standard output could not take what was written, for example because its disk is full.',
  },
  'sink.memory_full': { exit: 1, when: 'The memory sink has reached its limit.' },
  'file.write': { exit: 1, when: 'A segment or manifest could not be written, for example because the disk is full.' },
  'file.not_empty': { exit: 3, when: 'The folder of a file sink holds rows of a pipeline that was dropped.' },
  'file.other_pipeline': { exit: 3, when: 'The folder of a file sink belongs to another pipeline.' },
  'file.manifest': { exit: 3, when: 'A manifest of a file sink is damaged.' },
  'file.folder': { exit: 3, when: 'The folder of a file sink cannot be made or written.' },
  'sink.column_missing': { exit: 3, when: 'The target lacks a column of the source; the message has the ALTER TABLE.' },
  'sink.column_type': { exit: 3, when: 'A target column has a type that does not hold every source value unchanged.' },
  'sink.column_unfilled': {
    exit: 3,
    when: 'A column was added to a source table, and rows of the target that are older do not hold in it what those of the source do.',
  },
  'sink.column_unwritable': {
    exit: 3,
    when: 'A target column is computed by the target, or needs a value that the source does not have.',
  },
  'sink.constraints': {
    exit: 3,
    when: 'A target has constraints, triggers or rules beside its key that can fail when rows arrive out of order.',
  },
  'sink.fence_blocked': {
    exit: 3,
    when: "Another session holds the pipeline's row in the sink, and this user may not end it.",
  },
  'sink.fenced': {
    exit: 1,
    when: 'Another process has taken the pipeline over; this one stops and has written nothing since.',
  },
  'sink.key': { exit: 3, when: "A target has no unique index on exactly the source table's key." },
  'sink.locked': { exit: 1, when: 'Another session held a lock on a target table for too long.' },
  'sink.name_conflict': { exit: 2, when: 'Two columns have names that are one name to the target.' },
  'sink.name_too_long': {
    exit: 2,
    when: 'The name of a table or column is too long for the target, or has a character that it does not allow.',
  },
  'sink.read_only': { exit: 3, when: 'The target server is a standby and takes no writes.' },
  'sink.rejected': { exit: 1, when: 'The target refused a row; its own message is passed on.' },
  'sink.row_missing': {
    exit: 1,
    when: 'An update carries only part of its row and the target has no such row: somebody else changed the target.',
  },
  'sink.target_gone': { exit: 3, when: 'A target table that the pipeline has written to does not exist any more.' },
  'sink.target_is_source': { exit: 2, when: 'A target is one of the captured source tables.' },
  'sink.target_kind': { exit: 3, when: 'A target exists but is not a permanent table with transactions.' },
  'sink.target_not_empty': { exit: 3, when: 'A target holds rows although the pipeline has never written to it.' },
  'sink.target_recreated': {
    exit: 3,
    when: 'A target was dropped or renamed away and another table made under its name; `tidemark.checkpoint` keeps which table the pipeline writes to.',
  },
  'sink.target_shared': { exit: 2, when: 'Two source tables would be written to one target table.' },
  'sink.type_missing': { exit: 3, when: 'The target lacks a type, or a label of an enum, that a column needs.' },
  // registry
  'registry.incompatible': {
    exit: 3,
    when: "A table's new schema breaks the compatibility that the schema registry holds its subject to.",
  },
  'registry.not_registered': {
    exit: 3,
    when: 'auto.register.schemas is off and the schema registry does not know a schema.',
  },
  'registry.refused': {
    exit: 3,
    when: 'The schema registry refused a request: credentials, permissions, or a schema it calls invalid.',
  },
  'registry.unavailable': {
    exit: 1,
    when: 'The schema registry did not answer for too long; the pipeline starts again from its checkpoint.',
  },
  // formats
  'format.key_not_sent': {
    exit: 1,
    when: 'A message key holds columns that the source does not send with every change.',
  },
  'format.key_unsupported': {
    exit: 2,
    when: 'A message key holds a column whose type the format does not write.',
  },
  'format.name_collision': {
    exit: 3,
    when: 'Two columns of a table have the same name where the format allows fewer characters.',
  },
  'format.reserved_column': {
    exit: 3,
    when: 'A table has a column whose name the output format uses for itself.',
  },
  'format.unreadable_value': {
    exit: 1,
    when: 'A value does not have the form of its column type, so it cannot be written exactly.',
  },
  'format.value_not_sent': {
    exit: 1,
    when: 'An update did not bring a value that it left alone, and the format has no way to say that.',
  },
  'format.value_out_of_range': {
    exit: 1,
    when: 'A value is beyond what its field in the output format can hold.',
  },
} as const satisfies Record<string, CodeInfo>

export type ErrorCode = keyof typeof ERROR_CODES
