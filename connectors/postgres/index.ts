/** The PostgreSQL source as a connector. */
import { defineSource } from '../../core/define.js'
import { checkPostgres, dropPostgres, statusPostgres } from './check.js'
import { type PostgresOptions, postgresOptions } from './options.js'
import { PostgresSource } from './source.js'

export const postgresSource = defineSource<PostgresOptions>({
  connector: 'postgres',
  summary: 'PostgreSQL 13 to 18 through logical replication: one slot, parallel lock-free snapshot chunks, exact cuts.',
  options: postgresOptions as never,
  create: (options, { pipeline }) => new PostgresSource(options, pipeline),
  check: checkPostgres,
  status: statusPostgres,
  drop: dropPostgres,
})
