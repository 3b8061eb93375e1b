/** Options of message formats that the chosen format leaves without effect. */
import { isDebezium, isRegistered, type MessageFormatName } from './formats/message-options.js'
import type { MessageFormatGiven } from './message-format.js'

const MODES = new Set([
  'decimal.handling.mode',
  'time.precision.mode',
  'binary.handling.mode',
  'interval.handling.mode',
  'hstore.handling.mode',
  'money.fraction.digits',
  'include.unknown.datatypes',
])
const REGISTRY = /^(schema\.registry\.|auto\.register\.schemas$|(key|value)\.subject\.name\.strategy$)/
const OWN_FORMAT: Readonly<Record<string, MessageFormatName>> = {
  'debezium-json.flavor': 'debezium-json',
  'debezium-json.include-schema.enabled': 'debezium-json',
  'canal-json.flavor': 'canal-json',
  'maxwell-json.snapshot.type': 'maxwell-json',
  'cloudevents.mode': 'cloudevents',
}

/** Those that were given, with the reason. */
export function messageWithoutEffect(
  options: MessageFormatGiven,
  given: Readonly<Record<string, unknown>>,
): [option: string, why: string][] {
  return Object.keys(given).flatMap((option): [string, string][] => {
    const why = reason(option, options)
    return why === null ? [] : [[option, why]]
  })
}

function reason(option: string, options: MessageFormatGiven): string | null {
  const format = options['value.format']
  const flink =
    (format === 'debezium-json' && options['debezium-json.flavor'] === 'flink') ||
    (format === 'canal-json' && options['canal-json.flavor'] === 'flink')
  const chosen = `value.format is ${format}`
  const own = OWN_FORMAT[option]
  if (own !== undefined) return own === format ? null : chosen
  if (REGISTRY.test(option)) return isRegistered(format) ? null : chosen
  if (MODES.has(option)) {
    if (!isDebezium(format)) return chosen
    return flink ? 'flavor flink has modes of its own' : null
  }
  if (option === 'key.format') return isRegistered(format) ? chosen : null
  if (option === 'transaction.id.mode') return options['provide.transaction.metadata'] ? null : WITHOUT_METADATA
  if (option === 'table-id.include-database') {
    return flink || options['sink.add-tableId-to-header-enabled'] ? null : 'no table ids are written'
  }
  return null
}

const WITHOUT_METADATA = 'provide.transaction.metadata is off'
