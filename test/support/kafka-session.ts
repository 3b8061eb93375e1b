/** One session of the kafka sink for the contract's items table, without a source. */
import { setMaxListeners } from 'node:events'
import type { TableId } from '../../core/model.js'
import type { SinkSession } from '../../core/sink.js'
import { ITEMS } from '../../core/testing/items.js'
import { kafkaSink } from '../../sinks/kafka/index.js'
import type { TestKafka } from './kafka.js'
import { parsedSinkOptions } from './kafka-sink.js'

export interface OpenOptions {
  readonly pipeline: string
  readonly lastClaim?: string
  readonly options?: Readonly<Record<string, unknown>>
  /** What the session said to the user is put here. */
  readonly notes?: string[]
  /** Tables of which nothing was written yet are those of a first start unless this says so. */
  readonly first?: ReadonlySet<TableId>
}

export interface OpenedSession {
  readonly session: SinkSession
  readonly pipeline: string
  readonly topic: string
}

const { signal } = new AbortController()
setMaxListeners(0, signal)

export async function openSession(kafka: TestKafka, given: OpenOptions): Promise<OpenedSession> {
  const { pipeline, lastClaim, options = {}, notes = [] } = given
  const sink = kafkaSink.create(parsedSinkOptions(kafka, { 'value.format': 'row-json', ...options }), { pipeline })
  const note = (line: string) => void notes.push(line)
  const session = await sink.open({ pipeline, signal, note, ...(lastClaim === undefined ? {} : { lastClaim }) })
  const first = given.first ?? new Set(session.checkpoint === null ? [ITEMS.id] : [])
  try {
    await session.prepare([ITEMS], { first, source: { identity: {}, tables: [] }, signal })
  } catch (error) {
    await session.close()
    throw error
  }
  return { session, pipeline, topic: `${pipeline}.public.contract_items` }
}
