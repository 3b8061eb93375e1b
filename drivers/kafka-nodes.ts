/**
 * Which broker to ask, and the connections to them. A broker has one connection for each purpose, because it answers the
 * requests of one connection one after the other: a long poll must not hold up a commit. What is always true: what is
 * known of leaders is a hint, and is asked for anew after any answer that contradicts it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { TidemarkError } from '../core/errors.js'
import type { Abortable } from '../core/source.js'
import { type KafkaOptions, Link } from './kafka-connection.js'
import { ConnectionLost, hungUp, isConnectionLost, KafkaCode } from './kafka-errors.js'
import { type BrokerMetadata, type ClusterMetadata, requestMetadata, type TopicMetadata } from './kafka-requests.js'
import { abortable } from './kafka-retry.js'

export type Purpose = 'control' | 'produce' | 'fetch'

const IDLE_POLL_MS = 2

export class KafkaNodes {
  readonly options: KafkaOptions
  readonly #links = new Map<string, Promise<Link>>()
  #brokers: ReadonlyMap<number, BrokerMetadata> = new Map()
  readonly #leaders = new Map<string, readonly number[]>()
  #controller = -1
  #clusterId: string | null = null
  readonly #closed = new AbortController()

  private constructor(options: KafkaOptions) {
    this.options = options
  }

  static async connect(options: KafkaOptions, { signal }: Abortable): Promise<KafkaNodes> {
    const nodes = new KafkaNodes(options)
    try {
      await nodes.metadata([], { signal })
      return nodes
    } catch (error) {
      nodes.close()
      throw isConnectionLost(error) ? hungUp(error as Error, options) : error
    }
  }

  get clusterId(): string | null {
    return this.#clusterId
  }

  get nodeIds(): readonly number[] {
    return [...this.#brokers.keys()]
  }

  /** Throws ConnectionLost where the broker is not known or does not answer. */
  link(node: number, purpose: Purpose, { signal }: Abortable): Promise<Link> {
    const broker = this.#brokers.get(node)
    if (!broker) return Promise.reject(new ConnectionLost(`broker ${node} is not known at the moment`))
    return this.linkTo(broker.address, purpose, { signal })
  }

  async linkTo(address: string, purpose: Purpose, { signal }: Abortable): Promise<Link> {
    const key = `${purpose} ${address}`
    for (;;) {
      signal.throwIfAborted()
      // Also whoever opens waits for the promise that everybody waits for, so that requests keep their order.
      const known = this.#links.get(key) ?? this.#open(key, address)
      const link = await abortable(known, signal)
      if (link.alive && link.fresh) return link
      // Whatever is under way on the old connection is answered first, so that requests keep their order.
      while (link.alive && link.inFlight > 0) await sleep(IDLE_POLL_MS, undefined, { signal })
      link.close()
      if (this.#links.get(key) === known) this.#links.delete(key)
    }
  }

  #open(key: string, address: string): Promise<Link> {
    const opening = Link.open(address, this.options, this.#closed.signal)
    const guarded: Promise<Link> = opening.catch((error: unknown) => {
      if (this.#links.get(key) === guarded) this.#links.delete(key)
      // A broker that is down is one that will be back, or be replaced; a wrong password stays wrong.
      throw error instanceof TidemarkError && error.code === 'kafka.connection' && this.#brokers.size > 0
        ? new ConnectionLost(error.message, { cause: error })
        : error
    })
    this.#links.set(key, guarded)
    return guarded
  }

  /** Any broker that answers. */
  async any(purpose: Purpose, { signal }: Abortable): Promise<Link> {
    let last: unknown
    for (const address of this.#addresses()) {
      try {
        return await this.linkTo(address, purpose, { signal })
      } catch (error) {
        signal.throwIfAborted()
        last = error
        if (!isConnectionLost(error) && !(error instanceof TidemarkError && error.code === 'kafka.connection'))
          throw error
      }
    }
    throw last
  }

  /** Brokers that are known, then those of the configuration: all of the known ones may have moved. */
  #addresses(): Set<string> {
    const known = [...this.#brokers.values()].map((broker) => broker.address)
    const connected = known.filter((address) => this.#links.has(`control ${address}`))
    return new Set([...connected, ...known, ...this.options.brokers])
  }

  controller(options: Abortable): Promise<Link> {
    return this.#brokers.has(this.#controller)
      ? this.link(this.#controller, 'control', options)
      : this.any('control', options)
  }

  /** Asks the cluster, and remembers brokers and leaders. */
  async metadata(topics: readonly string[] | null, options: Abortable): Promise<ClusterMetadata> {
    const link = await this.any('control', options)
    const found = await abortable(requestMetadata(link, topics), options.signal)
    if (found.brokers.length === 0) {
      const error = new ConnectionLost(`${link.address} names no broker`)
      link.close(error)
      throw error
    }
    this.#brokers = new Map(found.brokers.map((broker) => [broker.node, broker]))
    this.#controller = found.controller
    this.#clusterId = found.id
    for (const topic of found.topics) this.#remember(topic)
    return found
  }

  #remember({ name, error, leaders }: TopicMetadata): void {
    if (error === KafkaCode.none) this.#leaders.set(name, leaders)
    else this.#leaders.delete(name)
  }

  /** The node of a partition's leader as far as is known; null where it is not. */
  leader(topic: string, partition: number): number | null {
    const node = this.#leaders.get(topic)?.[partition]
    return node === undefined || node < 0 ? null : node
  }

  forget(topic: string): void {
    this.#leaders.delete(topic)
  }

  close(): void {
    this.#closed.abort(new ConnectionLost('the cluster was closed'))
    for (const link of this.#links.values()) {
      link.then(
        (opened) => opened.close(),
        () => {},
      )
    }
    this.#links.clear()
  }
}
