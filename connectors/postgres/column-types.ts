/** The types of columns: what the core calls them, and what to cast to. Only built-in types go by their plain names. */
import { TidemarkError } from '../../core/errors.js'
import type { ColumnType, TypeKind } from '../../core/model.js'
import type { PgConnection } from '../../drivers/postgres.js'

const KINDS: Readonly<Record<string, TypeKind>> = {
  bool: 'bool',
  int2: 'int16',
  int4: 'int32',
  int8: 'int64',
  oid: 'int64',
  float4: 'float32',
  float8: 'float64',
  numeric: 'decimal',
  money: 'money',
  text: 'string',
  varchar: 'string',
  bpchar: 'string',
  char: 'string',
  name: 'string',
  bytea: 'bytes',
  bit: 'bits',
  varbit: 'bits',
  date: 'date',
  time: 'time',
  timetz: 'timetz',
  timestamp: 'timestamp',
  timestamptz: 'timestamptz',
  interval: 'interval',
  uuid: 'uuid',
  json: 'json',
  jsonb: 'json',
  xml: 'xml',
  point: 'point',
}

/** Types of extensions, by the name that type and extension share. */
const EXTENSION_KINDS: Readonly<Record<string, TypeKind>> = { citext: 'string', hstore: 'hstore' }

const TYPES_SQL = `
select t.oid, t.typname, n.nspname, t.typtype, t.typelem, t.typbasetype, t.typtypmod,
  exists (select from pg_type e where e.oid = t.typelem and e.typarray = t.oid),
  (select json_agg(e.enumlabel::text order by e.enumsortorder)::text from pg_enum e where e.enumtypid = t.oid),
  (select x.extname from pg_depend d join pg_extension x on x.oid = d.refobjid where d.classid = 'pg_type'::regclass
    and d.objid = t.oid and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e')
from pg_type t join pg_namespace n on n.oid = t.typnamespace where t.oid = any($1::oid[])`

interface TypeRow {
  readonly oid: number
  readonly name: string
  readonly namespace: string
  readonly type: string
  readonly element: number
  readonly baseType: number
  readonly typmod: number
  readonly isArray: boolean
  readonly labels: readonly string[] | null
  /** The extension that it belongs to. */
  readonly extension: string | null
}

/** Types by OID, with what they are made of. */
export class TypeCache {
  readonly #types = new Map<number, TypeRow>()

  /** Loads the types and everything they are built from. */
  async load(connection: PgConnection, oids: readonly string[]): Promise<void> {
    let wanted = [...new Set(oids.map(Number))].filter((oid) => !this.#types.has(oid))
    while (wanted.length > 0) {
      const rows = await connection.query(TYPES_SQL, [wanted.map(String)])
      const next: number[] = []
      for (const r of rows) {
        // Of int2vector and oidvector too the catalog says that they are arrays, but they are not written as arrays.
        const isArray = r[7] === 't'
        const row: TypeRow = {
          oid: Number(r[0]),
          name: r[1]!,
          namespace: r[2]!,
          type: r[3]!,
          element: isArray ? Number(r[4]) : 0,
          baseType: Number(r[5]),
          typmod: Number(r[6]),
          isArray,
          labels: r[8] == null ? null : (JSON.parse(r[8]) as string[]),
          extension: r[9] ?? null,
        }
        this.#types.set(row.oid, row)
        for (const part of [row.element, row.baseType]) if (part !== 0 && !this.#types.has(part)) next.push(part)
      }
      wanted = [...new Set(next)]
    }
  }

  /** False also for a type that load() did not find, or only without what it is made of: it was dropped meanwhile. */
  has(oid: number): boolean {
    const row = this.#types.get(oid)
    return row !== undefined && [row.element, row.baseType].every((part) => part === 0 || this.has(part))
  }

  columnType(oid: number, typmod: number): ColumnType {
    const row = this.#types.get(oid)
    if (row === undefined) throw new TidemarkError('core.bug', { message: `type ${oid} was not loaded` })
    if (row.type === 'd') {
      const base = this.columnType(row.baseType, row.typmod)
      return { ...base, domain: this.#name(row) }
    }
    const native = this.qualified(oid, typmod)
    const blank = {
      native,
      // Many ask for built-in types by this name; a user's type may be called `date`.
      base: isBuiltIn(row) || row.extension !== null ? row.name : this.#name(row),
      precision: null,
      scale: null,
      length: null,
      element: null,
      labels: row.labels,
      domain: null,
    }
    if (row.isArray) return { ...blank, kind: 'array', element: this.columnType(row.element, typmod) }
    if (row.type === 'e') return { ...blank, kind: 'enum' }
    if (isBuiltIn(row)) return { ...blank, kind: KINDS[row.name] ?? 'other', ...modifiers(row.name, typmod) }
    const kind = row.extension === row.name ? EXTENSION_KINDS[row.name] : undefined
    return { ...blank, kind: kind ?? 'other' }
  }

  /** Domains are what they are made of. */
  isBuiltIn(oid: number): boolean {
    const row = this.#types.get(oid)!
    return row.type === 'd' ? this.isBuiltIn(row.baseType) : isBuiltIn(row)
  }

  /** The name to cast to: `numeric(18,4)`, `public.mood`, `"Odd".type[]`. */
  qualified(oid: number, typmod: number): string {
    const row = this.#types.get(oid)!
    if (row.isArray) return `${this.qualified(row.element, typmod)}[]`
    if (!isBuiltIn(row)) return this.#name(row)
    const suffix = modifierText(row.name, typmod)
    // Without a length `character` and `bit` mean one: the types themselves have these names, as the server prints them.
    const bare = typmod < 0 ? BARE_NAMES[row.name] : undefined
    const name = bare ?? SQL_NAMES[row.name] ?? quoteType(row.name)
    // `timestamp(3) with time zone` carries its precision in the middle.
    return suffix !== '' && name.includes(' with') ? name.replace(' with', `${suffix} with`) : `${name}${suffix}`
  }

  #name(row: TypeRow): string {
    return `${quoteType(row.namespace)}.${quoteType(row.name)}`
  }
}

function isBuiltIn({ namespace }: TypeRow): boolean {
  return namespace === 'pg_catalog'
}

const BARE_NAMES: Readonly<Record<string, string>> = { bpchar: 'bpchar', bit: '"bit"' }

const SQL_NAMES: Readonly<Record<string, string>> = {
  bool: 'boolean',
  int2: 'smallint',
  int4: 'integer',
  int8: 'bigint',
  float4: 'real',
  float8: 'double precision',
  bpchar: 'character',
  varchar: 'character varying',
  varbit: 'bit varying',
  char: '"char"',
  time: 'time without time zone',
  timetz: 'time with time zone',
  timestamp: 'timestamp without time zone',
  timestamptz: 'timestamp with time zone',
}

function quoteType(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) && name !== 'char' ? name : `"${name.replaceAll('"', '""')}"`
}

function modifiers(name: string, typmod: number): Partial<Pick<ColumnType, 'precision' | 'scale' | 'length'>> {
  if (typmod < 0) return {}
  switch (name) {
    case 'numeric': {
      const packed = typmod - 4
      // Scale is an 11-bit signed number since PostgreSQL 15.
      return { precision: (packed >> 16) & 0xffff, scale: ((packed & 0x7ff) ^ 1024) - 1024 }
    }
    case 'varchar':
    case 'bpchar':
      return { length: typmod - 4 }
    case 'bit':
    case 'varbit':
      return { length: typmod }
    case 'time':
    case 'timetz':
    case 'timestamp':
    case 'timestamptz':
      return { precision: typmod }
    case 'interval':
      return (typmod & 0xffff) === 0xffff ? {} : { precision: typmod & 0xffff }
    default:
      return {}
  }
}

function modifierText(name: string, typmod: number): string {
  if (typmod < 0) return ''
  const { precision, scale, length } = modifiers(name, typmod)
  if (name === 'numeric') return `(${precision},${scale})`
  const one = length ?? precision
  return one == null ? '' : `(${one})`
}
