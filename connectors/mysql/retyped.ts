/**
 * Columns that ALTER TABLE gives another type (rule l): rows that were copied keep their old values, and no row event says what
 * the server made of them. What only makes room for more changes none of them.
 */

/** `int unsigned`, `varchar(20)`, `enum('a','b')`. */
interface Native {
  readonly base: string
  /** Inside the brackets. */
  readonly args: string
  readonly unsigned: boolean
}

const OTHER_NAMES: Readonly<Record<string, string>> = {
  integer: 'int',
  bool: 'tinyint',
  boolean: 'tinyint',
  numeric: 'decimal',
  dec: 'decimal',
  fixed: 'decimal',
  character: 'char',
  real: 'double',
}
/** Each holds every value of those before it, written alike. */
const WIDER: readonly (readonly string[])[] = [
  ['tinyint', 'smallint', 'mediumint', 'int', 'bigint'],
  ['tinytext', 'text', 'mediumtext', 'longtext'],
  ['tinyblob', 'blob', 'mediumblob', 'longblob'],
]

function read(native: string): Native | null {
  const match = /^\s*(\w+)\s*(?:\(((?:'(?:[^'\\]|''|\\.)*'|[^')])*)\))?\s*(.*)$/s.exec(native)
  if (match === null) return null
  const base = match[1]!.toLowerCase()
  return { base: OTHER_NAMES[base] ?? base, args: (match[2] ?? '').trim(), unsigned: /\bunsigned\b/i.test(match[3]!) }
}

/** Whether every value stays what it is, and is written as before, when a column of type `from` becomes `to`. */
export function keepsValues(from: string, to: string): boolean {
  const [was, is] = [read(from), read(to)]
  if (was === null || is === null || was.unsigned !== is.unsigned) return false
  const family = WIDER.find((bases) => bases.includes(was.base))
  if (family?.includes(is.base)) return family.indexOf(is.base) >= family.indexOf(was.base)
  if (was.base !== is.base) return false
  switch (was.base) {
    case 'varchar':
    case 'varbinary':
    case 'char':
      return Number(is.args) >= Number(was.args)
    case 'decimal': {
      const [digits = 10, scale = 0] = was.args.split(',').map(Number)
      const [more = 10, same = 0] = is.args === '' ? [] : is.args.split(',').map(Number)
      return same === scale && more >= digits
    }
    case 'enum':
    case 'set':
      return is.args === was.args || is.args.startsWith(`${was.args},`)
    default:
      return is.args === was.args
  }
}
