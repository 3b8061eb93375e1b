/**
 * Holds one block of a pipeline file against its zod schema and says what is wrong in the user's words: where, what,
 * and what was probably meant. Checks between options run even when single options are wrong, on a copy in which the
 * mistakes are repaired or left out, so that every problem shows at once.
 */
import type { ZodType, z } from 'zod'
import { choicesAt, expectedAt, type JsonSchema, jsonSchemaOf, optionsAt, shapesAt } from './option-shape.js'
import { closest, didYouMean, either, type Problem } from './problems.js'
import { isSecretOption } from './secrets.js'
import { describe, isRecord, type Path, type YamlFile } from './yaml-file.js'

type Issue = z.core.$ZodIssue

/** What options are read from: a pipeline file, or an object of a program. */
export type OptionsOrigin = Pick<
  YamlFile,
  'problems' | 'textOf' | 'isInterpolated' | 'isBroken' | 'keyPlace' | 'valuePlace'
>

interface Context {
  readonly file: OptionsOrigin
  readonly path: Path
  /** How messages name the block, e.g. `source (postgres)`. */
  readonly label: string
  readonly shape: JsonSchema
  readonly data: unknown
}

/** The parsed options, or null when problems were added to the file. */
export function validate<T>(
  schema: ZodType<T>,
  value: unknown,
  where: { readonly file: OptionsOrigin; readonly path: Path; readonly label: string },
): T | null {
  const { file } = where
  const shape = jsonSchemaOf(schema)
  const data = readTexts(value, shape, where.path, file)
  const parsed = schema.safeParse(data)
  if (parsed.success) return parsed.data
  const context: Context = { ...where, shape, data }
  const misspelt = parsed.error.issues.flatMap((issue) => meantOptions(issue, shape))
  // `tabels` is one mistake: that `tables` is then missing says nothing new.
  const absent = (issue: Issue) => valueAt(data, issue.path as Path) === undefined
  const single = parsed.error.issues.filter((i) => !(misspelt.includes(JSON.stringify(i.path)) && absent(i)))
  const found = single.flatMap((issue) => explain(issue, context))
  const repaired = repair(data, parsed.error.issues, shape)
  const between = schema.safeParse(repaired).error?.issues.filter((issue) => issue.code === 'custom') ?? []
  const all = [...found, ...between.flatMap((issue) => explain(issue, context))]
  file.problems.push(...all.filter((p, i) => all.findIndex((q) => same(p, q)) === i))
  return null
}

/** Paths that unknown options were probably meant for. */
function meantOptions(issue: Issue, shape: JsonSchema): string[] {
  if (issue.code !== 'unrecognized_keys') return []
  const path = issue.path.filter((part) => typeof part !== 'symbol')
  return issue.keys.flatMap((key) => {
    const meant = closest(key, optionsAt(shape, path))
    return meant === null ? [] : [JSON.stringify([...path, meant])]
  })
}

function same(a: Problem, b: Problem): boolean {
  return a.where === b.where && a.message === b.message
}

/**
 * A text option given as a plain YAML number or boolean means its text as written (`password: 007`); a number or
 * boolean that came from an interpolation is text that must be read as one.
 */
function readTexts(value: unknown, shape: JsonSchema, base: Path, file: OptionsOrigin): unknown {
  const walk = (node: unknown, path: Path): unknown => {
    if (Array.isArray(node)) return node.map((item, i) => walk(item, [...path, i]))
    if (isRecord(node)) return Object.fromEntries(Object.entries(node).map(([k, v]) => [k, walk(v, [...path, k])]))
    const types = new Set(shapesAt(shape, path).flatMap((s) => s.type ?? []))
    const text = file.textOf([...base, ...path])
    // Nothing is nothing, however it is written (`null`, `~`).
    if (text === null || node === null) return node
    const wantsText = types.has('string')
    if (typeof node !== 'string') return wantsText && !types.has(jsonType(node)) ? text : node
    if (wantsText || !file.isInterpolated([...base, ...path])) return node
    if ((types.has('number') || types.has('integer')) && /^-?\d+(\.\d+)?$/.test(text)) return Number(text)
    return types.has('boolean') && /^(true|false)$/.test(text) ? text === 'true' : node
  }
  return walk(value, [])
}

function jsonType(value: unknown): string {
  return typeof value === 'number' && !Number.isInteger(value)
    ? 'number'
    : typeof value === 'number'
      ? 'integer'
      : typeof value
}

function explain(issue: Issue, context: Context): Problem[] {
  const path = issue.path.filter((part) => typeof part !== 'symbol')
  const full = [...context.path, ...path]
  if (context.file.isBroken(full)) return []
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownOption(key, path, context))
  if (issue.code === 'invalid_union') return explainUnion(issue, path, context)
  const value = valueAt(context.data, path)
  if (value === undefined && path.length > 0 && issue.code !== 'custom') return [missing(path, context)]
  const name = describe(full)
  const place = path.length === 0 ? context.file.keyPlace(full) : context.file.valuePlace(full)
  if (issue.code === 'custom') {
    const message = path.length === 0 ? `${context.label}: ${issue.message}` : `${name}: ${issue.message}`
    return [{ ...place, message }]
  }
  return [{ ...place, message: `${name} ${wrongValue(issue, path, value, context)}` }]
}

function wrongValue(issue: Issue, path: Path, value: unknown, context: Context): string {
  const shown = show(value, path, context)
  if (issue.code === 'invalid_value' || issue.code === 'invalid_type' || issue.code === 'invalid_union') {
    const expected = expectedAt(context.shape, path)
    const hint = typeof value === 'string' ? didYouMean(value, choicesAt(context.shape, path)) : ''
    return `must be ${either(expected.length > 0 ? expected : ['something else'])}, not ${shown}.${hint}`
  }
  if (issue.code === 'too_small') {
    if (issue.origin === 'string' || issue.origin === 'array') {
      return issue.minimum === 1 ? 'must not be empty' : `must have at least ${issue.minimum} characters or items`
    }
    return `must be ${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}, not ${shown}`
  }
  if (issue.code === 'too_big') {
    const count = issue.origin === 'string' || issue.origin === 'array'
    return count
      ? `must have at most ${issue.maximum} characters or items`
      : `must be at most ${issue.maximum}, not ${shown}`
  }
  return `is ${shown}: ${issue.message}`
}

/** Reports the alternative that the user came closest to. */
function explainUnion(issue: Issue & { code: 'invalid_union' }, path: Path, context: Context): Problem[] {
  const value = valueAt(context.data, path)
  if (value === undefined && path.length > 0) return [missing(path, context)]
  const weight = (issues: readonly Issue[]) =>
    issues.reduce((sum, i) => sum + (i.code === 'unrecognized_keys' ? 2 * i.keys.length : i.path.length > 0 ? 1 : 3), 0)
  const branches = (issue.errors as Issue[][]).filter((issues) => issues.length > 0)
  const nearest = branches.sort((a, b) => weight(a) - weight(b))[0]
  const deeper = nearest?.some((i) => i.path.length > 0 || i.code === 'unrecognized_keys' || i.code === 'custom')
  if (nearest && deeper) {
    return nearest.flatMap((inner) => explain({ ...inner, path: [...path, ...inner.path] } as Issue, context))
  }
  const full = [...context.path, ...path]
  const limited = branches.flat().find((i) => i.code !== 'invalid_type' && i.code !== 'invalid_value') ?? issue
  const message = `${describe(full)} ${wrongValue(limited, path, value, context)}`
  return [{ ...context.file.valuePlace(full), message }]
}

function unknownOption(key: string, path: Path, context: Context): Problem {
  const full = [...context.path, ...path, key]
  const known = optionsAt(context.shape, path)
  const owner = path.length === 0 ? context.label : describe([...context.path, ...path])
  const place = context.file.keyPlace(full)
  return {
    ...place,
    message: `${owner} has no option "${key}".${hintFor(key, known, valueAt(context.data, [...path, key]))}`,
  }
}

function hintFor(key: string, known: readonly string[], value: unknown): string {
  const nested = known.filter((option) => option.startsWith(`${key}.`))
  if (isRecord(value) && nested.length > 0) return ` Options are written in one line: "${nested[0]}: ..."`
  const hint = didYouMean(key, known)
  const few = known.length <= KNOWN_SHOWN_MAX ? ` It has ${either(known.map((k) => `"${k}"`))}.` : ''
  return hint || (few && known.length > 0 ? few : ' `tidemark schema` lists what exists.')
}

const KNOWN_SHOWN_MAX = 8

function missing(path: Path, context: Context): Problem {
  const owner = path.slice(0, -1)
  const name = String(path.at(-1))
  const label = owner.length === 0 ? context.label : describe([...context.path, ...owner])
  const about = shapesAt(context.shape, path).find((s) => s.description)?.description
  const place = context.file.keyPlace([...context.path, ...owner])
  return { ...place, message: `${label} needs "${name}"${about ? `: ${about}` : ''}` }
}

/** A value as messages show it; what may be a secret is not shown. */
function show(value: unknown, path: Path, context: Context): string {
  const full = [...context.path, ...path]
  if (full.some((part) => typeof part === 'string' && isSecretOption(part))) return 'this value'
  if (context.file.isInterpolated(full)) return 'the value that was interpolated'
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  return typeof value === 'object' ? 'a map' : JSON.stringify(value)
}

function valueAt(data: unknown, path: Path): unknown {
  let at = data
  for (const part of path) {
    if (typeof at !== 'object' || at === null) return undefined
    at = (at as Record<string | number, unknown>)[part]
  }
  return at
}

/** The options as the user probably meant them; where that is unknown, without the wrong ones. */
function repair(data: unknown, issues: readonly Issue[], shape: JsonSchema): unknown {
  const copy = structuredClone(data)
  for (const issue of issues.flatMap(flatten)) {
    const path = issue.path.filter((part) => typeof part !== 'symbol')
    if (issue.code === 'unrecognized_keys') {
      const owner = valueAt(copy, path)
      if (!isRecord(owner)) continue
      for (const key of issue.keys) {
        const meant = closest(key, optionsAt(shape, path))
        if (meant !== null && !(meant in owner)) owner[meant] = owner[key]
        delete owner[key]
      }
    } else if (path.length > 0 && issue.code !== 'custom') {
      const owner = valueAt(copy, path.slice(0, -1))
      const name = path.at(-1)!
      if (!isRecord(owner)) continue
      const value = owner[name]
      const meant = typeof value === 'string' ? closest(value, choicesAt(shape, path)) : null
      if (meant !== null) owner[name] = meant
      else owner[name] = stopgap(shapesAt(shape, path))
      if (owner[name] === undefined) delete owner[name]
    }
  }
  return copy
}

function flatten(issue: Issue): Issue[] {
  if (issue.code !== 'invalid_union') return [issue]
  const deeper = (issue.errors as Issue[][]).flat().map((i) => ({ ...i, path: [...issue.path, ...i.path] }) as Issue)
  return deeper.length > 0 ? deeper.flatMap(flatten) : [issue]
}

/** Some valid value for a required option, so that checks between the others can run. */
function stopgap(shapes: readonly JsonSchema[]): unknown {
  const shape = shapes[0]
  if (shape?.default !== undefined) return shape.default
  if (shape?.enum) return shape.enum[0]
  switch (shape?.type) {
    case 'string':
      return 'x.x'
    case 'integer':
    case 'number':
      return shape.minimum ?? 1
    default:
      return undefined
  }
}
