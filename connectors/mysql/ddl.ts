/**
 * Statements of the log, read as far as they concern captured tables: which tables they name and what they do to rows without
 * row events (rule l). The text is split into tokens and only its beginning is understood; a statement that is not
 * understood is `other`, which changes nothing by itself: table maps show what its columns became.
 */

export interface NamedInLog {
  readonly database: string
  readonly table: string
}

/** `to` null: the column is dropped. */
export interface ColumnClause {
  readonly from: string
  readonly to: string | null
}

/** A column that gets a type, maybe the one that it has, by MODIFY or CHANGE; under the name that it has then. */
export interface TypeClause {
  readonly column: string
  /** As written: `int(10) unsigned`. */
  readonly type: string
}

export type Statement =
  | { readonly kind: 'begin' | 'commit' | 'rollback' | 'savepoint' | 'other' }
  | { readonly kind: 'xa'; readonly verb: string }
  /** A change of rows as a statement: every name in it that may be a table's. */
  | { readonly kind: 'dml'; readonly verb: string; readonly names: readonly NamedInLog[] }
  | { readonly kind: 'truncate'; readonly table: NamedInLog }
  | { readonly kind: 'drop'; readonly tables: readonly NamedInLog[] }
  | { readonly kind: 'drop-database'; readonly database: string }
  | { readonly kind: 'rename'; readonly pairs: readonly { readonly from: NamedInLog; readonly to: NamedInLog }[] }
  /** `rewrites`: what it does to rows past the log, in words; null: nothing that is known. */
  | {
      readonly kind: 'alter'
      readonly table: NamedInLog
      readonly renamed: NamedInLog | null
      readonly rewrites: string | null
      readonly columns: readonly ColumnClause[]
      readonly types: readonly TypeClause[]
    }
  | { readonly kind: 'create'; readonly table: NamedInLog }

interface Token {
  /** Upper case for words; the name for quoted ones; the character for others. */
  readonly text: string
  readonly kind: 'word' | 'name' | 'string' | 'sign'
  /** As written. */
  readonly raw: string
}

const DML = new Set(['INSERT', 'UPDATE', 'DELETE', 'REPLACE', 'LOAD', 'WITH', 'CALL', 'DO'])

export function readStatement(sql: string, database: string, ansiQuotes = false): Statement {
  const quick = /^(BEGIN|COMMIT|ROLLBACK)$/i.exec(sql)
  if (quick !== null) return { kind: quick[1]!.toLowerCase() as 'begin' | 'commit' | 'rollback' }
  const tokens = tokenize(sql, ansiQuotes)
  const reader = new Reader(tokens, database)
  const verb = reader.word()
  switch (verb) {
    case 'BEGIN':
    case 'START':
      return { kind: 'begin' }
    case 'COMMIT':
      return { kind: 'commit' }
    case 'SAVEPOINT':
    case 'RELEASE':
      return { kind: 'savepoint' }
    case 'ROLLBACK':
      return { kind: tokens.length > 1 ? 'savepoint' : 'rollback' }
    case 'XA':
      return { kind: 'xa', verb: reader.word() }
    case 'TRUNCATE':
      reader.skip('TABLE')
      return { kind: 'truncate', table: reader.name() }
    case 'DROP':
      return drop(reader)
    case 'RENAME':
      return rename(reader)
    case 'ALTER':
      return alter(reader)
    case 'CREATE':
      return create(reader)
    default:
      return DML.has(verb) ? { kind: 'dml', verb, names: reader.allNames() } : { kind: 'other' }
  }
}

function drop(reader: Reader): Statement {
  if (reader.skip('DATABASE', 'SCHEMA')) {
    reader.ifExists()
    return { kind: 'drop-database', database: reader.name().table }
  }
  if (reader.skip('TEMPORARY') || !reader.skip('TABLE', 'TABLES')) return { kind: 'other' }
  reader.ifExists()
  const tables = [reader.name()]
  while (reader.sign(',')) tables.push(reader.name())
  return { kind: 'drop', tables }
}

function rename(reader: Reader): Statement {
  if (!reader.skip('TABLE', 'TABLES')) return { kind: 'other' }
  const pairs: { from: NamedInLog; to: NamedInLog }[] = []
  do {
    reader.ifExists()
    const from = reader.name()
    while (reader.skip('WAIT', 'NOWAIT') || reader.number()) {}
    reader.skip('TO')
    pairs.push({ from, to: reader.name() })
  } while (reader.sign(','))
  return { kind: 'rename', pairs }
}

function alter(reader: Reader): Statement {
  while (reader.skip('ONLINE', 'OFFLINE', 'IGNORE')) {}
  if (!reader.skip('TABLE')) return { kind: 'other' }
  reader.ifExists()
  const table = reader.name()
  let renamed: NamedInLog | null = null
  let rewrites: string | null = null
  const columns: ColumnClause[] = []
  const types: TypeClause[] = []
  // Clauses are separated by commas outside brackets.
  for (const clause of reader.clauses()) {
    const inner = new Reader(clause, table.database)
    const words = clause.map((t) => (t.kind === 'word' ? t.text : '')).slice(0, 3)
    const [first = '', second = ''] = words
    if (first === 'RENAME' && !['COLUMN', 'INDEX', 'KEY'].includes(second)) {
      inner.word()
      inner.skip('TO', 'AS')
      inner.sign('=')
      renamed = inner.name()
    }
    rewrites ??= rewriting(first, second)
    const column = columnClause(first, new Reader(clause, ''))
    if (column !== null) columns.push(column)
    const type = typeClause(first, new Reader(clause, ''))
    if (type !== null) types.push(type)
  }
  return { kind: 'alter', table, renamed, rewrites, columns, types }
}

export const CONVERT = 'CONVERT TO CHARACTER SET'

/** Words behind DROP that are no column. */
const DROPPED_OTHERWISE = ['INDEX', 'KEY', 'PRIMARY', 'FOREIGN', 'CONSTRAINT', 'CHECK', 'PARTITION', 'PERIOD', 'SYSTEM']

function columnClause(verb: string, reader: Reader): ColumnClause | null {
  reader.word()
  if (verb === 'RENAME') {
    if (!reader.skip('COLUMN')) return null
    reader.ifExists()
    const from = reader.name().table
    reader.skip('TO')
    return { from, to: reader.name().table }
  }
  if (verb === 'CHANGE') {
    reader.skip('COLUMN')
    reader.ifExists()
    const from = reader.name().table
    const to = reader.name().table
    return from === to ? null : { from, to }
  }
  if (verb !== 'DROP' || reader.skip(...DROPPED_OTHERWISE)) return null
  reader.skip('COLUMN')
  reader.ifExists()
  return { from: reader.name().table, to: null }
}

function typeClause(verb: string, reader: Reader): TypeClause | null {
  reader.word()
  if (verb !== 'MODIFY' && verb !== 'CHANGE') return null
  reader.skip('COLUMN')
  reader.ifExists()
  const first = reader.name().table
  return { column: verb === 'CHANGE' ? reader.name().table : first, type: reader.type() }
}

/** Rows that come, go or change without row events (rule l). */
function rewriting(first: string, second: string): string | null {
  if (second === 'PARTITION' && ['EXCHANGE', 'DROP', 'TRUNCATE', 'CONVERT'].includes(first)) return `${first} PARTITION`
  if (first === 'CONVERT' && second === 'TABLE') return 'CONVERT TABLE TO PARTITION'
  if (second === 'TABLESPACE' && ['IMPORT', 'DISCARD'].includes(first)) return `${first} TABLESPACE`
  if (first === 'MODIFY' || first === 'CHANGE') return `${first} COLUMN`
  if (first === 'CONVERT') return CONVERT
  return null
}

function create(reader: Reader): Statement {
  if (reader.skip('OR')) reader.skip('REPLACE')
  if (reader.skip('TEMPORARY') || !reader.skip('TABLE')) return { kind: 'other' }
  reader.ifExists()
  return { kind: 'create', table: reader.name() }
}

class Reader {
  readonly #tokens: readonly Token[]
  readonly #database: string
  #at = 0

  constructor(tokens: readonly Token[], database: string) {
    this.#tokens = tokens
    this.#database = database
  }

  word(): string {
    return this.#tokens[this.#at++]?.text ?? ''
  }

  skip(...words: readonly string[]): boolean {
    const token = this.#tokens[this.#at]
    if (token?.kind !== 'word' || !words.includes(token.text)) return false
    this.#at++
    return true
  }

  sign(text: string): boolean {
    const token = this.#tokens[this.#at]
    if (token?.kind !== 'sign' || token.text !== text) return false
    this.#at++
    return true
  }

  /** A data type: its name, what is in brackets, and whether it is unsigned. */
  type(): string {
    let text = this.word().toLowerCase()
    if (this.sign('(')) {
      const inside: string[] = []
      for (let depth = 1; this.#at < this.#tokens.length; this.#at++) {
        const token = this.#tokens[this.#at]!
        if (token.kind === 'sign' && token.text === '(') depth++
        if (token.kind === 'sign' && token.text === ')' && --depth === 0) break
        inside.push(token.kind === 'string' ? `'${token.raw}'` : token.raw)
      }
      this.#at++
      text += `(${inside.join('')})`
    }
    return this.#tokens.slice(this.#at).some(({ kind, text: word }) => kind === 'word' && word === 'UNSIGNED')
      ? `${text} unsigned`
      : text
  }

  number(): boolean {
    const token = this.#tokens[this.#at]
    if (token === undefined || !/^\d+$/.test(token.raw)) return false
    this.#at++
    return true
  }

  /** IF [NOT] EXISTS. */
  ifExists(): void {
    if (!this.skip('IF')) return
    this.skip('NOT')
    this.skip('EXISTS')
  }

  /** `table`, `database.table`. */
  name(): NamedInLog {
    const first = this.#one()
    return this.sign('.') ? { database: first, table: this.#one() } : { database: this.#database, table: first }
  }

  #one(): string {
    const token = this.#tokens[this.#at++]
    return token === undefined || token.kind === 'sign' ? '' : token.raw
  }

  allNames(): NamedInLog[] {
    const found: NamedInLog[] = []
    for (this.#at = 0; this.#at < this.#tokens.length; ) {
      const kind = this.#tokens[this.#at]!.kind
      if (kind === 'word' || kind === 'name') found.push(this.name())
      else this.#at++
    }
    return found
  }

  *clauses(): Generator<readonly Token[]> {
    let clause: Token[] = []
    let depth = 0
    for (; this.#at < this.#tokens.length; this.#at++) {
      const token = this.#tokens[this.#at]!
      if (token.kind === 'sign' && token.text === '(') depth++
      if (token.kind === 'sign' && token.text === ')') depth--
      if (depth === 0 && token.kind === 'sign' && token.text === ',') {
        yield clause
        clause = []
      } else clause.push(token)
    }
    if (clause.length > 0) yield clause
  }
}

/** Comments are left out but for those that the server runs. */
function tokenize(sql: string, ansiQuotes: boolean): Token[] {
  const tokens: Token[] = []
  // Comment, opening of one that is run, its end, quoted text of three kinds, word, anything else.
  const pattern =
    /(?<comment>--[\s]+[^\n]*|--$|#[^\n]*|\/\*(?!M?!)[\s\S]*?\*\/)|(?<run>\/\*M?!\d*|\*\/)|`(?<tick>(?:[^`]|``)*)`|"(?<double>(?:[^"\\]|""|\\[\s\S])*)"|'(?<single>(?:[^'\\]|''|\\[\s\S])*)'|(?<word>[\p{L}\p{N}_$@]+)|(?<sign>\S)/gu
  for (const { groups } of sql.matchAll(pattern)) {
    const { tick, double, single, word, sign } = groups!
    if (tick !== undefined) tokens.push({ kind: 'name', text: '', raw: tick.replaceAll('``', '`') })
    else if (double !== undefined) {
      if (ansiQuotes) tokens.push({ kind: 'name', text: '', raw: double.replaceAll('""', '"') })
      else tokens.push({ kind: 'string', text: '', raw: double })
    } else if (single !== undefined) tokens.push({ kind: 'string', text: '', raw: single })
    else if (word !== undefined) tokens.push({ kind: 'word', text: word.toUpperCase(), raw: word })
    else if (sign !== undefined) tokens.push({ kind: 'sign', text: sign, raw: sign })
  }
  return tokens
}
