/** Sets of MySQL GTIDs: intervals by source (`uuid` or `uuid:tag`). They nest or overlap; they have no order. */
import { type Cut, gtidCut } from '../../core/cut.js'
import { TidemarkError } from '../../core/errors.js'

type Interval = [from: bigint, to: bigint]

export class GtidSet {
  readonly #sources: Map<string, Interval[]>

  private constructor(sources: Map<string, Interval[]>) {
    this.#sources = sources
  }

  static parse(text: string): GtidSet {
    const set = new GtidSet(new Map())
    for (const entry of text.replace(/\s/g, '').split(',')) {
      if (entry === '') continue
      const [uuid, ...items] = entry.toLowerCase().split(':')
      let source = uuid!
      for (const item of items) {
        const interval = /^(\d+)(?:-(\d+))?$/.exec(item)
        if (interval === null) source = `${uuid}:${item}`
        else set.#add(source, BigInt(interval[1]!), BigInt(interval[2] ?? interval[1]!))
      }
      if (items.length === 0) throw new TidemarkError('core.bug', { message: `"${entry}" is no GTID set` })
    }
    return set
  }

  add(source: string, number: bigint): void {
    // The usual case: the next one of its source.
    const last = this.#sources.get(source)?.at(-1)
    if (last !== undefined && number === last[1] + 1n) last[1] = number
    else this.#add(source, number, number)
  }

  #add(source: string, from: bigint, to: bigint): void {
    const intervals: Interval[] = [...(this.#sources.get(source) ?? []), [from, to] as Interval]
    intervals.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    const joined: Interval[] = []
    for (const [start, end] of intervals) {
      const last = joined.at(-1)
      if (last === undefined || start > last[1] + 1n) joined.push([start, end])
      else if (end > last[1]) last[1] = end
    }
    this.#sources.set(source, joined)
  }

  has(source: string, number: bigint): boolean {
    return (this.#sources.get(source) ?? []).some(([from, to]) => number >= from && number <= to)
  }

  /** Without these, which may lie inside intervals. */
  without(gtids: Iterable<{ readonly source: string; readonly number: bigint }>): GtidSet {
    const copy = this.copy()
    for (const { source, number } of gtids) {
      const intervals = copy.#sources.get(source) ?? []
      const split = intervals.flatMap(([from, to]): Interval[] => {
        if (number < from || number > to) return [[from, to]]
        return [[from, number - 1n] as Interval, [number + 1n, to] as Interval].filter(([a, b]) => a <= b)
      })
      if (split.length > 0) copy.#sources.set(source, split)
      else copy.#sources.delete(source)
    }
    return copy
  }

  copy(): GtidSet {
    return new GtidSet(new Map([...this.#sources].map(([id, list]) => [id, list.map(([a, b]): Interval => [a, b])])))
  }

  cut(after: bigint): Cut {
    return gtidCut(this.copy().#sources, after)
  }

  toString(): string {
    const byUuid = new Map<string, string>()
    for (const [source, intervals] of [...this.#sources].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const [uuid, tag] = source.split(':') as [string, string?]
      const list = intervals.map(([a, b]) => (a === b ? `${a}` : `${a}-${b}`)).join(':')
      byUuid.set(uuid, `${byUuid.get(uuid) ?? uuid}${tag === undefined ? '' : `:${tag}`}:${list}`)
    }
    return [...byUuid.values()].join(',')
  }
}
