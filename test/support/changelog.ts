/**
 * The changelog oracle: replays debezium-json values and judges every single event. A read or an insert is right only
 * where the key is absent, an update or a delete only where it is present with the stated before-image. So a row lost,
 * delivered twice or out of order is found even when the final state happens to be equal.
 */
export interface ChangeEvent {
  readonly op: 'r' | 'c' | 'u' | 'd' | 't'
  readonly before: Image | null
  readonly after: Image | null
  readonly source: {
    readonly schema?: string
    readonly db: string
    readonly table: string
    readonly [field: string]: unknown
  }
}

export type Image = Readonly<Record<string, unknown>>

/** What an unchanged TOAST value looks like in an event: nothing is known about it. */
const UNAVAILABLE = '__debezium_unavailable_value'
const REPORTED_MAX = 20

export interface ChangelogTable {
  readonly key: readonly string[]
  /** Under REPLICA IDENTITY FULL the whole before-image must equal the row. */
  readonly fullBefore?: boolean
}

export class Changelog {
  /** What is wrong, up to REPORTED_MAX lines; empty: everything so far was right. */
  readonly problems: string[] = []
  events = 0
  readonly #tables: Readonly<Record<string, ChangelogTable>>
  readonly #rows = new Map<string, Map<string, Image>>()

  /** By `schema.table`. */
  constructor(tables: Readonly<Record<string, ChangelogTable>>) {
    this.#tables = tables
    for (const name of Object.keys(tables)) this.#rows.set(name, new Map())
  }

  addLines(text: string): this {
    for (const line of text.split('\n')) {
      if (line !== '') this.add(JSON.parse(line) as ChangeEvent)
    }
    return this
  }

  add(event: ChangeEvent): void {
    this.events += 1
    // MySQL has databases only.
    const name = `${event.source.schema ?? event.source.db}.${event.source.table}`
    const table = this.#tables[name]
    const rows = this.#rows.get(name)
    if (!table || !rows) return this.#wrong(event, `an event of ${name}, which is not expected`)
    if (event.op === 't') return rows.clear()
    const image = event.op === 'd' ? event.before : event.after
    if (!image) return this.#wrong(event, 'the row is missing')
    const key = keyText(table, image)
    const present = rows.get(key)
    if (event.op === 'r' || event.op === 'c') {
      if (present) this.#wrong(event, `${key} is there already: ${JSON.stringify(present)}`)
      if (Object.values(image).includes(UNAVAILABLE)) this.#wrong(event, 'a new row without all of its values')
      rows.set(key, image)
      return
    }
    if (!present) return this.#wrong(event, `${key} is not there`)
    if (event.op === 'u' && event.before && keyText(table, event.before) !== key)
      this.#wrong(event, 'a key change that is one update')
    if (table.fullBefore && !event.before) this.#wrong(event, 'the before-image is missing')
    if (table.fullBefore && event.before) this.#compare(event, event.before, present)
    if (event.op === 'd') {
      rows.delete(key)
      return
    }
    rows.set(key, complete(image, present))
  }

  /** Rows of a table now, by key. */
  rows(name: string): ReadonlyMap<string, Image> {
    return this.#rows.get(name) ?? new Map()
  }

  /** Differences to rows of the source, values compared as text; only columns whose event form is that text can be given. */
  differences(name: string, wanted: readonly Readonly<Record<string, string | null>>[]): string[] {
    const table = this.#tables[name]
    if (!table) throw new Error(`no table ${name}`)
    const left = new Map(this.rows(name))
    const found: string[] = []
    for (const row of wanted) {
      const key = keyText(table, row)
      const ours = left.get(key)
      left.delete(key)
      if (!ours) found.push(`missing: ${JSON.stringify(row)}`)
      else if (!Object.entries(row).every(([column, value]) => text(ours[column]) === value)) {
        found.push(`differs: ${JSON.stringify(ours)} should be ${JSON.stringify(row)}`)
      }
    }
    for (const row of left.values()) found.push(`extra: ${JSON.stringify(row)}`)
    return found.slice(0, REPORTED_MAX)
  }

  #compare(event: ChangeEvent, before: Image, present: Image): void {
    for (const [column, value] of Object.entries(before)) {
      if (value === UNAVAILABLE || present[column] === UNAVAILABLE) continue
      if (text(value) !== text(present[column])) {
        this.#wrong(event, `before.${column} is ${text(value)}, the row has ${text(present[column])}`)
      }
    }
  }

  #wrong(event: ChangeEvent, what: string): void {
    if (this.problems.length >= REPORTED_MAX) return
    this.problems.push(`event ${this.events}: ${what}: ${JSON.stringify(event).slice(0, 500)}`)
  }
}

function keyText(table: ChangelogTable, image: Image): string {
  return JSON.stringify(table.key.map((column) => text(image[column])))
}

function text(value: unknown): string | null {
  if (value === null || value === undefined) return null
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

/** Keeps what an update did not send. */
function complete(after: Image, present: Image): Image {
  return Object.fromEntries(
    Object.entries(after).map(([column, value]) => [column, value === UNAVAILABLE ? present[column] : value]),
  )
}
