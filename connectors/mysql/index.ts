/** The MySQL and MariaDB source as a connector. */
import { defineSource } from '../../core/define.js'
import { checkMysql, dropMysql, statusMysql } from './check.js'
import { type MysqlSourceOptions, mysqlOptions } from './options.js'
import { MysqlSource } from './source.js'

export const mysqlSource = defineSource<MysqlSourceOptions>({
  connector: 'mysql',
  aliases: ['mariadb'],
  summary:
    'MySQL 5.6 to 9 and MariaDB through the binary log: parallel lock-free snapshot chunks, cuts by GTID or snapshot position.',
  options: mysqlOptions as never,
  create: (options, { pipeline }) => new MysqlSource(options, pipeline),
  check: checkMysql,
  status: statusMysql,
  drop: dropMysql,
})
