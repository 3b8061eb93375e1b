/** The sources that exist. A new connector is one folder and one line here. */
import type { SourceDefinition } from '../core/define.js'
import { kafkaSource } from './kafka/index.js'
import { mysqlSource } from './mysql/index.js'
import { postgresSource } from './postgres/index.js'

export const SOURCES: readonly SourceDefinition<unknown>[] = [postgresSource, mysqlSource, kafkaSource]
