/** The postgres sink: exactly-once, with the checkpoint in the transaction of the rows. */
import { defineSink } from '../../core/define.js'
import type { Sink } from '../../core/sink.js'
import { connectPg } from '../../drivers/postgres.js'
import { checkPostgresSink } from './check.js'
import { type PostgresSinkOptions, pgOptions, postgresSinkOptions } from './options.js'
import { PostgresSession } from './session.js'
import { dropState, readState, STATE_TABLE } from './state.js'

export type { PostgresSinkOptions } from './options.js'

export const postgresSink = defineSink<PostgresSinkOptions>({
  connector: 'postgres',
  summary: 'Tables of a PostgreSQL database, exactly-once: rows and checkpoint are committed together.',
  options: postgresSinkOptions,

  create: (options): Sink => ({
    connector: 'postgres',
    guarantee: 'exactly-once',
    completesMoves: true,
    open: (context) => PostgresSession.open(options, context),
  }),

  check: checkPostgresSink,

  async readCheckpoint(options, { pipeline, signal }) {
    const connection = await connectPg(pgOptions(options, pipeline), { signal })
    try {
      return (await readState(connection, pipeline)).checkpoint
    } finally {
      await connection.close()
    }
  },

  async drop(options, { pipeline, signal }) {
    const connection = await connectPg(pgOptions(options, pipeline), { signal })
    try {
      const dropped = await dropState(connection, pipeline)
      return dropped ? [`checkpoint of pipeline ${pipeline} in ${STATE_TABLE}`] : []
    } finally {
      await connection.close()
    }
  },
})
