/** The mysql sink, for MariaDB too: exactly-once, with the checkpoint in the transaction of the rows. */
import { defineSink } from '../../core/define.js'
import type { Sink } from '../../core/sink.js'
import { checkMysqlSink } from './check.js'
import { type MysqlSinkOptions, mysqlSinkOptions } from './options.js'
import { connectTarget } from './server.js'
import { MysqlSession } from './session.js'
import { StateRow, stateExists } from './state.js'

export type { MysqlSinkOptions } from './options.js'

export const mysqlSink = defineSink<MysqlSinkOptions>({
  connector: 'mysql',
  aliases: ['mariadb'],
  summary: 'Tables of MySQL or MariaDB, exactly-once: rows and checkpoint are committed together.',
  options: mysqlSinkOptions,

  create: (options): Sink => ({
    connector: 'mysql',
    guarantee: 'exactly-once',
    completesMoves: true,
    open: (context) => MysqlSession.open(options, context),
  }),

  check: checkMysqlSink,

  async readCheckpoint(options, { pipeline, signal }) {
    const { connection } = await connectTarget(options, pipeline, signal)
    try {
      if (!(await stateExists(connection, options['state.database']))) return null
      return (await new StateRow(options['state.database'], pipeline).read(connection)).checkpoint
    } finally {
      await connection.close()
    }
  },

  async drop(options, { pipeline, signal }) {
    const { connection } = await connectTarget(options, pipeline, signal)
    try {
      const state = new StateRow(options['state.database'], pipeline)
      const dropped = (await stateExists(connection, options['state.database'])) && (await state.remove(connection))
      return dropped ? [`checkpoint of pipeline ${pipeline} in ${state.table}`] : []
    } finally {
      await connection.close()
    }
  },
})
