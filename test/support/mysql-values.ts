/** Random values of every MySQL and MariaDB column type, as SQL literals, weighted towards the edges of each type. */
import type { Random } from './seed.js'

export interface TypedColumn {
  readonly name: string
  /** What follows the name in CREATE TABLE. */
  readonly sql: string
  /** A literal; null: the column computes itself. */
  readonly value: ((r: Random) => string) | null
}

const hex = (bytes: Uint8Array) => `X'${Buffer.from(bytes).toString('hex')}'`
const quoted = (text: string) => `'${text.replace(/[\\']/g, (c) => `\\${c}`)}'`
const two = (n: number) => String(n).padStart(2, '0')

function bytes(r: Random, max: number): Uint8Array {
  const length = r.pick([0, 1, max, r.below(max + 1)])
  return Uint8Array.from({ length }, () => r.pick([0, 0, 32, 255, r.below(256)]))
}

function integer(low: bigint, high: bigint): (r: Random) => string {
  const span = high - low
  return (r) => {
    const some = low + (BigInt(Math.floor(r.next() * 2 ** 53)) * span) / 2n ** 53n
    return String(r.pick([low, high, 0n, 1n, low + 1n, high - 1n, some, some]))
  }
}

function decimal(precision: number, scale: number): (r: Random) => string {
  return (r) => {
    const whole =
      Array.from({ length: r.below(precision - scale + 1) }, () => r.pick([0, 9, r.below(10)])).join('') || '0'
    const fraction = Array.from({ length: scale }, () => r.pick([0, 9, r.below(10)])).join('')
    return `${r.chance(0.5) ? '-' : ''}${whole}${scale > 0 ? `.${fraction}` : ''}`
  }
}

const DOUBLES = [
  '0',
  '-0e0',
  '1',
  '-1.5',
  '1e15',
  '1e16',
  '123456789012345680',
  '1e-5',
  '1e-14',
  '1e-15',
  '1e-16',
  '1.7976931348623157e308',
  '2.2250738585072014e-308',
  '0.1',
  '16777216',
  '9007199254740993',
  '1e300',
  '1e22',
  '100000000000000000000',
  '1247901865281164.8',
]
const double = (r: Random) => (r.chance(0.5) ? r.pick(DOUBLES) : `${(r.next() - 0.5) * 10 ** (r.below(600) - 300)}`)
const FLOATS = [
  '0',
  '16777216',
  '16777217',
  '0.1',
  '3.4028234e38',
  '1.17549435e-38',
  '1e15',
  '1e-15',
  '123456.789',
  '-1.5',
  '33554432',
  '1e10',
]
const float = (r: Random) => (r.chance(0.5) ? r.pick(FLOATS) : `${(r.next() - 0.5) * 10 ** (r.below(70) - 35)}`)

function fraction(r: Random, digits: number): string {
  if (digits === 0) return ''
  return `.${Array.from({ length: digits }, () => r.pick([0, 9, r.below(10)])).join('')}`
}

const clock = (r: Random) =>
  r.pick(['00:00:00', '23:59:59', `${two(r.below(24))}:${two(r.below(60))}:${two(r.below(60))}`])
const day = (r: Random) =>
  r.pick([
    '0000-00-00',
    '1000-01-01',
    '9999-12-31',
    '1970-01-01',
    '2024-02-29',
    '2024-00-00',
    `${1000 + r.below(9000)}-${two(1 + r.below(12))}-${two(1 + r.below(28))}`,
  ])

const date = (r: Random) => quoted(day(r))
const datetime = (digits: number) => (r: Random) => quoted(`${day(r)} ${clock(r)}${fraction(r, digits)}`)
const timestamp = (digits: number) => (r: Random) => {
  if (r.chance(0.1)) return quoted('0000-00-00 00:00:00')
  const at = new Date(Math.floor(1000 + r.next() * (2 ** 31 - 2) * 1000)).toISOString()
  return quoted(`${at.slice(0, 10)} ${at.slice(11, 19)}${fraction(r, digits)}`)
}
const time = (digits: number) => (r: Random) => {
  const edge = digits === 0 ? '838:59:59' : `838:59:58${fraction(r, digits)}`
  const some = `${r.below(838)}:${two(r.below(60))}:${two(r.below(60))}${fraction(r, digits)}`
  return quoted(`${r.chance(0.5) ? '-' : ''}${r.pick([edge, '00:00:00', `00:00:00${fraction(r, digits)}`, some])}`)
}

const BASIC = ['a', 'Z', ' ', '  ', "'", '"', '\\', '%', '0', '\t', '\n']
const LATIN = [...BASIC, 'é', 'ß', 'ÿ', '€', '¼']
const WIDE = [...LATIN, 'ж', '漢', 'ﬀ', '☃']
const ALL = [...WIDE, '𝄞', '😀']

function text(alphabet: readonly string[], max: number): (r: Random) => string {
  return (r) => {
    const length = r.pick([0, 1, max, r.below(max + 1)])
    return quoted(Array.from({ length }, () => r.pick(alphabet)).join(''))
  }
}

function bits(length: number): (r: Random) => string {
  return (r) => `b'${Array.from({ length }, () => r.pick([0, 1])).join('')}'`
}

const point = (r: Random) => `${r.pick([0, -1.5, r.next() * 100])} ${r.pick([0, 2.25, r.next() * 80])}`
const ring = (r: Random) => {
  const a = point(r)
  return `(${a}, ${1 + r.below(50)} 3, 7 ${8 + r.below(9)}, ${a})`
}
const geometry = (make: (r: Random) => string) => (r: Random) => `ST_GeomFromText('${make(r)}')`

function json(r: Random, depth = 0): unknown {
  const kind = r.below(depth > 3 ? 7 : 9)
  switch (kind) {
    case 0:
      return null
    case 1:
      return r.chance(0.5)
    case 2:
      return r.pick([0, 1, -1, 127, 128, 32767, 32768, 65535, 65536, -32769, 2147483647, 4294967295, 2 ** 40])
    case 3:
      return r.pick([0.5, -1.25, 1e-7, 1e300, 1234567890.12345, 123456.75])
    case 4:
      return r.pick(['', 'x', 'ü☃😀', 'a"b\\c/d', 'line\nend\ttab\u0001', 'y'.repeat(200)])
    case 5:
      return ''
    case 6:
      return r.below(1000)
    case 7:
      return Array.from({ length: r.below(6) }, () => json(r, depth + 1))
    default:
      return Object.fromEntries(
        Array.from({ length: r.below(6) }, (_, i) => [
          r.pick(['a', 'bb', 'ü', '', 'long key', '__proto__', `k${i}`]),
          json(r, depth + 1),
        ]),
      )
  }
}

const jsonText = (r: Random) => quoted(JSON.stringify(json(r)))
/** Values that JSON text cannot make. */
const jsonSql = (r: Random) =>
  r.pick([
    jsonText(r),
    jsonText(r),
    `JSON_ARRAY(CAST(1.10 AS DECIMAL(20,5)), CAST(18446744073709551615 AS UNSIGNED), CAST(-9223372036854775808 AS SIGNED), 1.0e0, 1e20)`,
    `JSON_OBJECT('t', CAST('12:34:56.789' AS TIME(3)), 'd', CAST('2024-02-29' AS DATE), 'dt', CAST('2024-02-29 01:02:03.5' AS DATETIME(6)))`,
    `JSON_ARRAY(X'00ff10', 'plain')`,
    `CAST(${quoted(JSON.stringify(Array.from({ length: 3000 }, (_, i) => `element ${i}`)))} AS JSON)`,
  ])

const ENUM = `('', 'small', 'it''s', 'grün', 'a,b')`
const enumeration = (r: Random) => r.pick(['1', '2', '3', '4', '5', "'nonsense'"])
const SET = `('a', 'b b', 'ü', 'q''q')`
const set = (r: Random) => String(r.below(16))
const WIDE_SET = `(${Array.from({ length: 64 }, (_, i) => `'m${i}'`).join(', ')})`
const wideSet = (r: Random) =>
  r.pick(['18446744073709551615', '0', '9223372036854775808', '1', String(r.below(2 ** 31))])

/** Columns that every server has. */
const COMMON: readonly TypedColumn[] = [
  { name: 'c_tiny', sql: 'TINYINT', value: integer(-128n, 127n) },
  { name: 'c_tiny_u', sql: 'TINYINT UNSIGNED', value: integer(0n, 255n) },
  { name: 'c_bool', sql: 'BOOLEAN', value: integer(0n, 1n) },
  { name: 'c_small', sql: 'SMALLINT', value: integer(-32768n, 32767n) },
  { name: 'c_small_u', sql: 'SMALLINT UNSIGNED', value: integer(0n, 65535n) },
  { name: 'c_medium', sql: 'MEDIUMINT', value: integer(-8388608n, 8388607n) },
  { name: 'c_medium_u', sql: 'MEDIUMINT UNSIGNED', value: integer(0n, 16777215n) },
  { name: 'c_int', sql: 'INT', value: integer(-2147483648n, 2147483647n) },
  { name: 'c_int_u', sql: 'INT UNSIGNED', value: integer(0n, 4294967295n) },
  { name: 'c_int_z', sql: 'INT(8) ZEROFILL', value: integer(0n, 4294967295n) },
  { name: 'c_big', sql: 'BIGINT', value: integer(-(2n ** 63n), 2n ** 63n - 1n) },
  { name: 'c_big_u', sql: 'BIGINT UNSIGNED', value: integer(0n, 2n ** 64n - 1n) },
  { name: 'c_big_z', sql: 'BIGINT(20) UNSIGNED ZEROFILL', value: integer(0n, 2n ** 64n - 1n) },
  { name: 'c_dec', sql: 'DECIMAL(18,4)', value: decimal(18, 4) },
  { name: 'c_dec_0', sql: 'DECIMAL(10,0)', value: decimal(10, 0) },
  { name: 'c_dec_all', sql: 'DECIMAL(30,30)', value: decimal(30, 30) },
  { name: 'c_dec_65', sql: 'DECIMAL(65,30)', value: decimal(65, 30) },
  { name: 'c_dec_z', sql: 'DECIMAL(12,3) UNSIGNED ZEROFILL', value: (r) => decimal(12, 3)(r).replace('-', '') },
  { name: 'c_float', sql: 'FLOAT', value: float },
  { name: 'c_float_d', sql: 'FLOAT(10,3)', value: (r) => String(Math.round(r.next() * 1e6) / 1e3) },
  { name: 'c_double', sql: 'DOUBLE', value: double },
  { name: 'c_double_d', sql: 'DOUBLE(20,4)', value: (r) => String(Math.round((r.next() - 0.5) * 1e12) / 1e4) },
  { name: 'c_bit1', sql: 'BIT(1)', value: bits(1) },
  { name: 'c_bit9', sql: 'BIT(9)', value: bits(9) },
  { name: 'c_bit64', sql: 'BIT(64)', value: bits(64) },
  { name: 'c_year', sql: 'YEAR', value: (r) => r.pick(['0', '1901', '2155', String(1901 + r.below(255))]) },
  { name: 'c_date', sql: 'DATE', value: date },
  ...[0, 1, 3, 6].flatMap((n): TypedColumn[] => [
    { name: `c_time${n}`, sql: `TIME(${n})`, value: time(n) },
    { name: `c_datetime${n}`, sql: `DATETIME(${n})`, value: datetime(n) },
    { name: `c_timestamp${n}`, sql: `TIMESTAMP(${n}) NULL DEFAULT NULL`, value: timestamp(n) },
  ]),
  { name: 'c_char', sql: 'CHAR(12) CHARACTER SET utf8mb4', value: text(ALL, 12) },
  { name: 'c_char_long', sql: 'CHAR(255) CHARACTER SET utf8mb4', value: text(ALL, 255) },
  { name: 'c_char_1', sql: 'CHAR(8) CHARACTER SET latin1', value: text(LATIN, 8) },
  { name: 'c_varchar', sql: 'VARCHAR(40) CHARACTER SET utf8mb4', value: text(ALL, 40) },
  { name: 'c_varchar_l', sql: 'VARCHAR(400) CHARACTER SET latin1', value: text(LATIN, 400) },
  { name: 'c_utf8', sql: 'VARCHAR(20) CHARACTER SET utf8', value: text(WIDE, 20) },
  { name: 'c_ucs2', sql: 'VARCHAR(20) CHARACTER SET ucs2', value: text(WIDE, 20) },
  { name: 'c_ucs2c', sql: 'CHAR(20) CHARACTER SET ucs2', value: text(WIDE, 20) },
  { name: 'c_utf16', sql: 'VARCHAR(20) CHARACTER SET utf16', value: text(ALL, 20) },
  { name: 'c_utf16le', sql: 'VARCHAR(20) CHARACTER SET utf16le', value: text(ALL, 20) },
  { name: 'c_utf32', sql: 'CHAR(20) CHARACTER SET utf32', value: text(ALL, 20) },
  { name: 'c_gbk', sql: 'VARCHAR(20) CHARACTER SET gbk', value: text([...BASIC, '漢', '字', '中'], 20) },
  { name: 'c_big5', sql: 'VARCHAR(20) CHARACTER SET big5', value: text([...BASIC, '漢', '字', '中'], 20) },
  { name: 'c_sjis', sql: 'VARCHAR(20) CHARACTER SET cp932', value: text([...BASIC, '漢', '字', 'ア', 'ｱ', '①'], 20) },
  { name: 'c_ujis', sql: 'VARCHAR(20) CHARACTER SET ujis', value: text([...BASIC, '漢', '字', 'ア'], 20) },
  { name: 'c_euckr', sql: 'VARCHAR(20) CHARACTER SET euckr', value: text([...BASIC, '한', '글'], 20) },
  { name: 'c_cp1251', sql: 'VARCHAR(20) CHARACTER SET cp1251', value: text([...BASIC, 'ж', 'Я', '№'], 20) },
  { name: 'c_latin2', sql: 'VARCHAR(20) CHARACTER SET latin2', value: text([...BASIC, 'ř', 'Ł', 'ü'], 20) },
  { name: 'c_koi8r', sql: 'VARCHAR(20) CHARACTER SET koi8r', value: text([...BASIC, 'ж', 'Я'], 20) },
  { name: 'c_cp850', sql: 'VARCHAR(20) CHARACTER SET cp850', value: text([...BASIC, 'é', 'ß'], 20) },
  { name: 'c_tinytext', sql: 'TINYTEXT CHARACTER SET utf8mb4', value: text(ALL, 50) },
  { name: 'c_text', sql: 'TEXT CHARACTER SET utf8mb4', value: text(ALL, 300) },
  { name: 'c_mediumtext', sql: 'MEDIUMTEXT CHARACTER SET latin1', value: text(LATIN, 300) },
  { name: 'c_longtext', sql: 'LONGTEXT CHARACTER SET utf8mb4', value: text(ALL, 300) },
  { name: 'c_binary', sql: 'BINARY(16)', value: (r) => hex(bytes(r, 16)) },
  { name: 'c_binary_l', sql: 'BINARY(255)', value: (r) => hex(bytes(r, 255)) },
  { name: 'c_varbinary', sql: 'VARBINARY(300)', value: (r) => hex(bytes(r, 300)) },
  { name: 'c_tinyblob', sql: 'TINYBLOB', value: (r) => hex(bytes(r, 200)) },
  { name: 'c_blob', sql: 'BLOB', value: (r) => hex(bytes(r, 300)) },
  { name: 'c_mediumblob', sql: 'MEDIUMBLOB', value: (r) => hex(bytes(r, 300)) },
  { name: 'c_longblob', sql: 'LONGBLOB', value: (r) => hex(bytes(r, 300)) },
  { name: 'c_enum', sql: `ENUM${ENUM} CHARACTER SET utf8mb4`, value: enumeration },
  { name: 'c_enum_l', sql: `ENUM('é', 'ü') CHARACTER SET latin1`, value: (r) => r.pick(['1', '2']) },
  { name: 'c_set', sql: `SET${SET} CHARACTER SET utf8mb4`, value: set },
  { name: 'c_set_64', sql: `SET${WIDE_SET}`, value: wideSet },
  {
    name: 'c_geometry',
    sql: 'GEOMETRY',
    value: geometry((r) => r.pick([`POINT(${point(r)})`, `LINESTRING(${point(r)}, 1 1)`])),
  },
  { name: 'c_point', sql: 'POINT', value: geometry((r) => `POINT(${point(r)})`) },
  { name: 'c_polygon', sql: 'POLYGON', value: geometry((r) => `POLYGON(${ring(r)})`) },
  { name: 'c_multi', sql: 'MULTIPOINT', value: geometry((r) => `MULTIPOINT(${point(r)}, 3 4)`) },
]

const SINCE_57: readonly TypedColumn[] = [
  { name: 'c_gen_v', sql: 'INT GENERATED ALWAYS AS (c_small + 1) VIRTUAL', value: null },
  { name: 'c_gen_s', sql: 'VARCHAR(60) GENERATED ALWAYS AS (CONCAT(c_varchar, c_tiny)) STORED', value: null },
]

const MYSQL: readonly TypedColumn[] = [
  { name: 'c_json', sql: 'JSON', value: jsonSql },
  { name: 'c_vector', sql: 'VECTOR(3)', value: (r) => `STRING_TO_VECTOR('[${r.next()}, -1.5, ${r.below(9)}]')` },
  {
    name: 'c_srid',
    sql: 'POINT SRID 4326',
    value: (r) => `ST_GeomFromText('POINT(${r.below(80)} ${r.below(170)})', 4326)`,
  },
  { name: 'c_invisible', sql: 'INT INVISIBLE', value: integer(-5n, 5n) },
  { name: 'c_gb18030', sql: 'VARCHAR(20) CHARACTER SET gb18030', value: text([...BASIC, '漢', '字', '😀'], 20) },
]

const MARIADB: readonly TypedColumn[] = [
  { name: 'c_json', sql: 'JSON', value: jsonText },
  { name: 'c_uuid', sql: 'UUID', value: (r) => quoted(uuid(r)) },
  {
    name: 'c_inet6',
    sql: 'INET6',
    value: (r) =>
      quoted(
        r.pick([
          '::',
          '::1',
          '::ffff:192.168.0.1',
          '2001:db8::ff00:42:8329',
          '1:2:3:4:5:6:7:8',
          'fe80::1',
          '::1.2.3.4',
          '1:0:0:2:0:0:0:3',
        ]),
      ),
  },
  { name: 'c_inet4', sql: 'INET4', value: (r) => quoted(`${r.below(256)}.${r.below(256)}.0.${r.below(256)}`) },
  {
    name: 'c_compressed',
    sql: 'TEXT COMPRESSED CHARACTER SET utf8mb4',
    value: (r) => quoted(r.pick(['', 'short', 'long '.repeat(200), 'ü'.repeat(150)])),
  },
  {
    name: 'c_vcompressed',
    sql: 'VARBINARY(2000) COMPRESSED',
    value: (r) => hex(r.chance(0.5) ? bytes(r, 20) : new Uint8Array(1500)),
  },
  { name: 'c_invisible', sql: 'INT INVISIBLE', value: integer(-5n, 5n) },
]

function uuid(r: Random): string {
  const hexes = (n: number) => Array.from({ length: n }, () => r.below(16).toString(16)).join('')
  const version = r.pick(['1', '3', '4', '5', '6', '7', '8', hexes(1)])
  return `${hexes(8)}-${hexes(4)}-${version}${hexes(3)}-${hexes(4)}-${hexes(12)}`
}

export function typedColumns(kind: 'mysql' | 'mariadb' | 'mysql56'): readonly TypedColumn[] {
  if (kind === 'mysql56') return COMMON
  return [...COMMON, ...SINCE_57, ...(kind === 'mysql' ? MYSQL : MARIADB)]
}
