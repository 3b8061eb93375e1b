/** Whether the schema registry answers, for formats that need one. */
import type { Finding } from '../../core/define.js'
import { SchemaRegistry } from '../formats/schema-registry.js'
import { messageFormatFrom } from '../message-format.js'
import type { KafkaSinkOptions } from './options.js'

/** A registry with several addresses works while one of them does. */
export async function checkRegistry(options: KafkaSinkOptions, signal: AbortSignal): Promise<Finding[]> {
  const { subjects } = messageFormatFrom(options, { logicalName: '' })
  if (subjects === undefined) return []
  const states = await new SchemaRegistry(subjects.registry).states(signal)
  const level = states.some(({ problem }) => problem === null) ? 'warning' : 'problem'
  return states.map(({ url, problem }): Finding => {
    if (problem === null) return { level: 'ok', subject: url, message: 'the schema registry answers' }
    return { level, subject: url, message: `the schema registry ${problem.message}`, fix: problem.fix }
  })
}
