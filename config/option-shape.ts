/**
 * What a zod schema accepts, read from its JSON Schema: the same text that editors and the reference use. It answers
 * the questions that error messages ask: which options exist here, which values, what is this option for.
 */
import { type ZodType, z } from 'zod'
import type { Path } from './yaml-file.js'

export interface JsonSchema {
  type?: string | string[]
  properties?: Record<string, JsonSchema>
  additionalProperties?: boolean | JsonSchema
  items?: JsonSchema
  anyOf?: JsonSchema[]
  oneOf?: JsonSchema[]
  allOf?: JsonSchema[]
  enum?: unknown[]
  const?: unknown
  default?: unknown
  required?: string[]
  description?: string
  pattern?: string
  minimum?: number
  maximum?: number
  [more: string]: unknown
}

const cache = new WeakMap<ZodType<unknown>, JsonSchema>()

export function jsonSchemaOf(schema: ZodType<unknown>): JsonSchema {
  const known = cache.get(schema)
  if (known) return known
  const made = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any', reused: 'inline' }) as JsonSchema
  delete made.$schema
  cache.set(schema, made)
  return made
}

/** Every alternative that the schema allows at a path. */
export function shapesAt(root: JsonSchema, path: Path): JsonSchema[] {
  let shapes = alternatives(root)
  for (const part of path) {
    shapes = shapes.flatMap((shape) => {
      if (typeof part === 'number') return shape.items ? alternatives(shape.items) : []
      const property = shape.properties?.[part]
      if (property) return alternatives(property)
      return typeof shape.additionalProperties === 'object' ? alternatives(shape.additionalProperties) : []
    })
  }
  return shapes
}

export function alternatives(schema: JsonSchema): JsonSchema[] {
  const inner = [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])]
  const nested = inner.flatMap(alternatives)
  const parts = schema.allOf?.flatMap(alternatives) ?? []
  return schema.properties || schema.type || nested.length + parts.length === 0
    ? [schema, ...nested, ...parts]
    : [...nested, ...parts]
}

export function optionsAt(root: JsonSchema, path: Path): string[] {
  return [...new Set(shapesAt(root, path).flatMap((shape) => Object.keys(shape.properties ?? {})))]
}

/** The allowed words, or an empty list when it is not a choice. */
export function choicesAt(root: JsonSchema, path: Path): string[] {
  return [
    ...new Set(
      shapesAt(root, path).flatMap((s) =>
        (s.enum ?? (s.const === undefined ? [] : [s.const])).filter((v) => typeof v === 'string'),
      ),
    ),
  ]
}

/** `text`, `a whole number`, `a list`: what is expected at a path, in words. */
export function expectedAt(root: JsonSchema, path: Path): string[] {
  return [...new Set(shapesAt(root, path).flatMap(inWords))]
}

const WORDS: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map of options',
  null: 'nothing',
}

function inWords(shape: JsonSchema): string[] {
  if (shape.enum) return shape.enum.map((value) => JSON.stringify(value))
  if (shape.const !== undefined) return [JSON.stringify(shape.const)]
  const types = shape.type === undefined ? [] : [shape.type].flat()
  return types.map((type) => WORDS[type] ?? type)
}
