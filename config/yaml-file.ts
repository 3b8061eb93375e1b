/**
 * A pipeline file as plain values that remember where they stand. Values are interpolated here, one scalar at a time;
 * whatever goes wrong is collected as a problem and the walk goes on, so that one run reports every mistake.
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type ParsedNode,
  parseDocument,
  type Scalar,
} from 'yaml'
import { hasInterpolation, type InterpolationScope, interpolate } from './interpolate.js'
import type { Problem } from './problems.js'
import type { Secrets } from './secrets.js'

export type Path = readonly (string | number)[]

interface Place {
  readonly where: string
  readonly offset: number
}

interface Entry {
  readonly key: Place
  readonly value: Place
  /** A plain scalar's text as written, or what an interpolation gave: what a text option means by it. */
  readonly text: string | null
  readonly interpolated: boolean
}

const ALIAS_DEPTH_MAX = 20

export class YamlFile {
  readonly problems: Problem[] = []
  data: unknown = null
  #file: string
  #scope: InterpolationScope
  #secrets: Secrets
  #entries = new Map<string, Entry>()
  /** Values that an interpolation left without a meaning; they are not reported a second time. */
  #broken = new Set<string>()
  #lines = new LineCounter()

  constructor(file: string, text: string, scope: InterpolationScope, secrets: Secrets) {
    this.#file = file
    this.#scope = scope
    this.#secrets = secrets
    // stringKeys: `1: x` means the option "1". Aliases are resolved here, so that a loop of them ends.
    const document = parseDocument(text, {
      lineCounter: this.#lines,
      prettyErrors: false,
      stringKeys: true,
      uniqueKeys: true,
      merge: false,
    })
    for (const { code, message, pos } of [...document.errors, ...document.warnings]) {
      this.problems.push({ ...this.#placeOf(pos[0]), message: syntaxMessage(code, message) })
    }
    if (document.errors.length > 0) return
    const start = this.#placeOf(document.contents?.range[0] ?? 0)
    this.data = this.#read(document, document.contents, [], start, 0)
  }

  /** Replaces or adds an option. `text` is a YAML scalar. Returns what is wrong with it, or null. */
  set(path: Path, text: string, label: string): string | null {
    const document = parseDocument(text, { prettyErrors: false })
    const { contents } = document
    const [wrong] = [...document.errors, ...document.warnings]
    if (wrong) return `the value is not a YAML scalar: ${wrong.message}`
    if (contents !== null && !isScalar(contents)) return 'the value must be a YAML scalar, not a list or a map'
    const place = { where: label, offset: Number.MAX_SAFE_INTEGER }
    const [block, option] = path as [string, string]
    if (!isRecord(this.data)) this.data = {}
    const data = this.data as Record<string, unknown>
    if (!isRecord(data[block])) data[block] = {}
    if (!this.#entries.has(keyOf([block]))) this.#remember([block], place, place, null, false)
    // `source.tables=` gives the option an empty text.
    if (contents === null) this.#remember(path, place, place, '', false)
    define(
      data[block] as Record<string, unknown>,
      option,
      contents === null ? '' : this.#scalar(contents, path, place, place),
    )
    return null
  }

  #read(document: Document.Parsed, node: ParsedNode | null, path: Path, key: Place, depth: number): unknown {
    if (node === null) {
      this.#remember(path, key, key, null, false)
      return null
    }
    const place = this.#placeOf(node.range[0])
    if (isAlias(node)) {
      const target = depth < ALIAS_DEPTH_MAX ? node.resolve(document) : undefined
      if (target === undefined) {
        const message = `the alias "*${node.source}" refers to nothing, or to itself. A text that begins with * goes in quotes`
        this.problems.push({ ...place, message })
        this.#broken.add(keyOf(path))
        return null
      }
      return this.#read(document, target as ParsedNode, path, key, depth + 1)
    }
    if (isScalar(node)) return this.#scalar(node, path, key, place)
    this.#remember(path, key, place, null, false)
    if (isSeq(node)) {
      return node.items.map((item, i) => {
        const at = item === null ? place : this.#placeOf(item.range[0])
        return this.#read(document, item, [...path, i], at, depth)
      })
    }
    const out: Record<string, unknown> = {}
    if (!isMap(node)) return out
    for (const { key: name, value } of node.items) {
      const at = this.#placeOf(name.range[0])
      if (!isScalar(name)) {
        this.problems.push({ ...at, message: 'the name of an option must be a plain word' })
        continue
      }
      const option = String(name.value)
      define(out, option, this.#read(document, value, [...path, option], at, depth))
    }
    return out
  }

  #scalar(node: Scalar, path: Path, key: Place, place: Place): unknown {
    const option = lastName(path)
    const value = placeholders(option, node.value)
    const plain = node.type === 'PLAIN' ? (node.source ?? null) : null
    if (typeof value !== 'string') {
      this.#remember(path, key, place, plain, false)
      if (plain !== null) this.#secrets.learn(option, plain, [])
      return value
    }
    const { text, parts, problems } = hasInterpolation(value)
      ? interpolate(value, this.#scope)
      : { text: value, parts: [], problems: [] }
    this.#secrets.learn(option, text, parts)
    this.#remember(path, key, place, text, hasInterpolation(value))
    for (const message of problems) this.problems.push({ ...place, message: `${describe(path)}: ${message}` })
    if (problems.length > 0) this.#broken.add(keyOf(path))
    return text
  }

  /** Where the value stands, or the nearest thing around it. */
  valuePlace(path: Path): Place {
    return this.#entry(path).value
  }

  keyPlace(path: Path): Place {
    return this.#entry(path).key
  }

  textOf(path: Path): string | null {
    return this.#entries.get(keyOf(path))?.text ?? null
  }

  isInterpolated(path: Path): boolean {
    return this.#entries.get(keyOf(path))?.interpolated ?? false
  }

  isBroken(path: Path): boolean {
    return this.#broken.has(keyOf(path))
  }

  #entry(path: Path): Entry {
    for (let length = path.length; length >= 0; length--) {
      const entry = this.#entries.get(keyOf(path.slice(0, length)))
      if (entry) return length === path.length ? entry : { ...entry, value: entry.key }
    }
    const start = this.#placeOf(0)
    return { key: start, value: start, text: null, interpolated: false }
  }

  #remember(path: Path, key: Place, value: Place, text: string | null, interpolated: boolean): void {
    this.#entries.set(keyOf(path), { key, value, text, interpolated })
  }

  #placeOf(offset: number): Place {
    const { line, col } = this.#lines.linePos(offset)
    return { where: `${this.#file}:${Math.max(line, 1)}:${Math.max(col, 1)}`, offset }
  }
}

/** `source.tables`, `route[1].sink-table`: the path as messages name it. */
export function describe(path: Path): string {
  return path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`)).join('')
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function keyOf(path: Path): string {
  return JSON.stringify(path)
}

function lastName(path: Path): string {
  return String(path.findLast((part) => typeof part === 'string') ?? '')
}

/** `__proto__` is an unknown option like any other. */
function define(target: Record<string, unknown>, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, enumerable: true, writable: true, configurable: true })
}

function syntaxMessage(code: string, message: string): string {
  switch (code) {
    case 'DUPLICATE_KEY':
      return 'this option is given twice'
    case 'TAB_AS_INDENT':
      return 'tabs cannot indent; use spaces'
    case 'BLOCK_AS_IMPLICIT_KEY':
      return 'a value with ": " in it needs quotes'
    case 'UNEXPECTED_TOKEN':
      return `YAML: ${message}. A text that begins with a double quote, *, & or ! goes in single quotes as a whole: '"Odd.Name".*'`
    case 'MULTIPLE_DOCS':
      return 'one file holds one pipeline: remove everything from "---" on'
    default:
      return `YAML: ${message}`
  }
}

/** Templates have placeholders of their own, which users also write as `${table}`; variables there are in upper case. */
function placeholders(option: string, value: unknown): unknown {
  const isTemplate = option.endsWith('.template') && typeof value === 'string'
  return isTemplate ? value.replace(/\$\{([a-z]+)\}/g, '{$1}') : value
}
