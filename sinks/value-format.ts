/** The option that chooses how events are written. */
import { z } from 'zod'
import { FORMAT_NAMES } from './formats/format.js'

export const valueFormat = z
  .enum(FORMAT_NAMES)
  .default('debezium-json')
  .describe('debezium-json: Debezium envelopes. row-json: plain rows with __op and __table.')
