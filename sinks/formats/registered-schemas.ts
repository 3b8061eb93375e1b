/** The schemas of tables and their ids in a registry: registered before any message needs them. */
import { assert } from '../../core/errors.js'
import type { TableSchema } from '../../core/model.js'
import { avroName, avroSchemaJson } from './avro-schema.js'
import { type ConnectSchema, type SchemaOptions, type TableSchemas, tableSchemas } from './connect-schema.js'
import { jsonSchemaJson } from './json-schema.js'
import { type RegistryOptions, SchemaRegistry } from './schema-registry.js'

export const SUBJECT_STRATEGIES = ['TopicNameStrategy', 'RecordNameStrategy', 'TopicRecordNameStrategy'] as const
export type SubjectStrategy = (typeof SUBJECT_STRATEGIES)[number]

export interface SchemaIds {
  readonly schemas: TableSchemas
  /** null: no key. */
  readonly key: number | null
  readonly value: number
}

export interface SubjectOptions {
  readonly registry: RegistryOptions
  readonly keySubject: SubjectStrategy
  readonly valueSubject: SubjectStrategy
}

/** What prepare() is given: the topic that a table's messages go to. */
export type TopicOf = (schema: TableSchema) => string

const TABLES_MAX = 4_096

export class RegisteredSchemas {
  readonly #registry: SchemaRegistry
  readonly #ids = new Map<string, SchemaIds>()
  readonly #options: SubjectOptions & SchemaOptions & { readonly type: 'AVRO' | 'JSON' }

  constructor(options: SubjectOptions & SchemaOptions & { readonly type: 'AVRO' | 'JSON' }) {
    this.#options = options
    this.#registry = new SchemaRegistry(options.registry)
  }

  /** Registers a table's schemas; at once where that was done. Throws `registry.*`. */
  async register(schema: TableSchema, key: readonly number[], topic: string, signal: AbortSignal): Promise<void> {
    if (this.#ids.has(schema.fingerprint)) return
    const schemas = tableSchemas(schema, key, this.#options)
    const { keySubject, valueSubject } = this.#options
    const { type } = this.#options
    const textOf = (of: ConnectSchema) => (type === 'AVRO' ? avroSchemaJson(of, schema.id) : jsonSchemaJson(of))
    // Both texts first: what is wrong with a table shows before anything is registered for it.
    const texts = { key: schemas.key === null ? null : textOf(schemas.key), value: textOf(schemas.envelope) }
    const idOf = (of: ConnectSchema, text: string, strategy: SubjectStrategy, suffix: string) =>
      this.#registry.idOf(subjectOf(strategy, topic, of.name!, suffix), type, text, signal)
    const keyId = texts.key === null ? null : await idOf(schemas.key!, texts.key, keySubject, 'key')
    const value = await idOf(schemas.envelope, texts.value, valueSubject, 'value')
    // The oldest goes (I8); a table that still uses it registers it again.
    if (this.#ids.size >= TABLES_MAX) this.#ids.delete(this.#ids.keys().next().value!)
    this.#ids.set(schema.fingerprint, { schemas, key: keyId, value })
  }

  of({ id, fingerprint }: TableSchema): SchemaIds {
    const ids = this.#ids.get(fingerprint)
    assert(ids !== undefined, `the schemas of ${id} were not registered before its first message`)
    return ids
  }
}

function subjectOf(strategy: SubjectStrategy, topic: string, record: string, suffix: string): string {
  const name = avroName(record)
  if (strategy === 'RecordNameStrategy') return name
  return strategy === 'TopicNameStrategy' ? `${topic}-${suffix}` : `${topic}-${name}`
}
