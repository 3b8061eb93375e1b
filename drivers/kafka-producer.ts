/**
 * The transactional producer: InitProducerId, AddPartitionsToTxn, Produce and EndTxn as requests of our own. What is always
 * true: inside a run the id is re-initialised only with our own producer id and epoch, which cannot fence a successor; an
 * EndTxn whose answer was lost is repeated as it was until there is one; after a produce that was refused or whose outcome is
 * unknown nothing is sent until abort() and reinitialise().
 */

import { assert, TidemarkError } from '../core/errors.js'
import type { Abortable } from '../core/source.js'
import type { KafkaCluster } from './kafka.js'
import type { Link } from './kafka-connection.js'
import {
  COORDINATOR_BUSY,
  codeName,
  EPOCH_REFUSED,
  gaveUp,
  isConnectionLost,
  KafkaCode,
  NOT_PERMITTED,
  refused,
} from './kafka-errors.js'
import type { KafkaNodes } from './kafka-nodes.js'
import type { Pack } from './kafka-pack.js'
import { type Limits, prepare } from './kafka-prepare.js'
import { PRODUCE_VERSION, ProduceQueue } from './kafka-produce-queue.js'
import {
  addPartitionsToTxn,
  endTxn,
  findCoordinator,
  initProducerId,
  NO_PRODUCER,
  type ProducerIdentity,
  type TopicPartition,
} from './kafka-requests.js'
import { abortable, Busy, repeat } from './kafka-retry.js'

export interface ProducerOptions extends Limits {
  /** Null: an idempotent producer without transactions, for at-least-once. */
  readonly transactionalId: string | null
  /** Kafka aborts a transaction that is open for longer. */
  readonly transactionTimeoutMs: number
  /** Go on as this producer of before, which fails with `sink.fenced` when another process has taken the id over since. */
  readonly resume?: (ProducerIdentity & { readonly open: boolean }) | undefined
  /** Tests begin near the end of the sequence numbers. */
  readonly firstSequence?: number | undefined
}

const PRODUCE = 0
/** The last epoch is the coordinator's own, for fencing. */
const EPOCH_MAX = 32_766

export class KafkaProducer {
  readonly #nodes: KafkaNodes
  readonly #options: ProducerOptions
  readonly #queue: ProduceQueue
  readonly #closed = new AbortController()
  #own: ProducerIdentity
  #coordinator: string | null = null
  /** The coordinator may have a transaction of ours open. */
  #begun = false
  /** Packs are queued in the order of the calls, however long each takes to compress. */
  #prepared: Promise<unknown> = Promise.resolve()
  readonly #sending = new Set<Promise<void>>()
  #refusedEpoch = false
  /** The coordinator said that a transaction of ours is open, and was not asked to end it since. */
  #openForSure = false

  private constructor(nodes: KafkaNodes, options: ProducerOptions, first: ProducerIdentity) {
    this.#nodes = nodes
    this.#options = options
    this.#own = first
    this.#queue = new ProduceQueue(
      {
        leader: (topic, partition) => nodes.leader(topic, partition),
        refresh: (topics) => nodes.metadata(topics, this.#alive()),
        produce: (node, body) => this.#produce(node, body),
        add: (partitions) => this.#add(partitions),
      },
      first,
      {
        transactionalId: options.transactionalId,
        requestTimeoutMs: nodes.options.requestTimeoutMs,
        retryMs: nodes.options.retryMs,
        firstSequence: options.firstSequence,
        epochRefused: (code, what) => this.#epochRefused(code, what),
      },
    )
  }

  /**
   * Plain InitProducerId, which fences every older owner of the id: once, at a process's start. With `resume` it cannot fence
   * a successor. Both end the transaction that was left open.
   */
  static async open(cluster: KafkaCluster, options: ProducerOptions, { signal }: Abortable): Promise<KafkaProducer> {
    const { resume } = options
    const producer = new KafkaProducer(cluster.nodes, options, resume ?? NO_PRODUCER)
    try {
      if (resume !== undefined) {
        producer.#openForSure = resume.open
        await producer.reinitialise({ signal })
      } else if (!(await producer.#initialise(NO_PRODUCER, signal))) throw producer.#fenced()
      return producer
    } catch (error) {
      await producer.close()
      throw error
    }
  }

  /** The coordinator is known to have had a transaction of ours open. */
  get open(): boolean {
    return this.#openForSure
  }

  get producerId(): bigint {
    return this.#own.producerId
  }

  get epoch(): number {
    return this.#own.epoch
  }

  /**
   * Resolves when every pack has an acknowledged offset. Several calls may be under way; packs of a partition keep the order
   * of the calls. Throws RecordTooLarge before anything of the call is sent, and the transaction goes on. Any other
   * error ends the transaction: `kafka.rejected`, `kafka.outcome_unknown`, `kafka.epoch_refused`, `kafka.permission`...
   */
  send(packs: readonly Pack[], { signal }: Partial<Abortable> = {}): Promise<void> {
    const preparing = prepare(packs, this.#options)
    const turn = Promise.all([preparing, this.#prepared])
    this.#prepared = turn.catch(() => {})
    const sent = turn.then(([batches]) => {
      this.#closed.signal.throwIfAborted()
      return this.#queue.send(batches)
    })
    this.#sending.add(sent)
    const over = () => this.#sending.delete(sent)
    sent.then(over, over)
    return signal ? abortable(sent, signal) : sent
  }

  /** Waits for what is being sent, and makes what was sent since the last one visible. Nothing is a commit of nothing. */
  async commit({ signal = this.#closed.signal }: Partial<Abortable> = {}): Promise<void> {
    await abortable(Promise.all(this.#sending), signal)
    if (this.#queue.failure) throw this.#queue.failure
    assert(!this.#queue.needsNewEpoch, 'a commit in an epoch that was given up')
    if (!this.#begun) return
    await this.#end(true, signal)
    this.#begun = false
    this.#queue.nextTransaction()
  }

  /** Gives up what was sent since the last commit. Also resolves when the transaction is over already: reinitialise() tells. */
  async abort({ signal = this.#closed.signal }: Partial<Abortable> = {}): Promise<void> {
    await this.#queue.stop(new TidemarkError('kafka.transaction_aborted', { message: 'the transaction was given up' }))
    // Where the epoch was refused, the transaction is over, or its successor's business.
    if (this.#begun && !this.#refusedEpoch) await this.#end(false, signal)
    this.#begun = false
    this.#queue.nextTransaction()
  }

  /**
   * A new epoch by our own id and epoch. Throws `sink.fenced` when another process has taken the id over. Resolves with an
   * error to report when it was our own transaction that timed out.
   */
  async reinitialise({ signal = this.#closed.signal }: Partial<Abortable> = {}): Promise<TidemarkError | null> {
    await this.#queue.stop(new TidemarkError('kafka.transaction_aborted', { message: 'the producer starts anew' }))
    if (this.#options.transactionalId === null) {
      await this.#initialise(NO_PRODUCER, signal)
      return null
    }
    const timedOut = this.#refusedEpoch ? this.#timedOut() : null
    if (await this.#initialise(this.#own, signal)) return timedOut
    // Before Kafka 4's transaction.version 2, a coordinator that times a transaction out raises the epoch by one and does
    // not know ours any more. A successor that finds a transaction open raises it by two (to end it, and for itself), so
    // that this request cannot be accepted in its place. Without an open transaction it could.
    if (this.#openForSure && this.epoch < EPOCH_MAX) {
      const raised = { producerId: this.producerId, epoch: this.epoch + 1 }
      if (await this.#initialise(raised, signal)) return timedOut
    }
    throw this.#fenced()
  }

  /** Rejects what is under way and forgets it; never throws. An open transaction is left to its time-out or its successor. */
  async close(): Promise<void> {
    const why = new TidemarkError('kafka.transaction_aborted', { message: 'the producer was closed' })
    this.#closed.abort(why)
    void this.#queue.stop(why)
  }

  #alive(): Abortable {
    return { signal: this.#closed.signal }
  }

  async #produce(node: number, body: readonly Buffer[]): Promise<Buffer> {
    const link = await this.#nodes.link(node, 'produce', this.#alive())
    const version = link.version(PRODUCE, 'Produce', [PRODUCE_VERSION])
    const timeoutMs = this.#nodes.options.requestTimeoutMs
    return link.request({ key: PRODUCE, name: 'Produce', version, flexible: false }, body, timeoutMs)
  }

  // ---- requests to the coordinator

  /** False: the coordinator refused the epoch. */
  async #initialise(own: ProducerIdentity, signal: AbortSignal): Promise<boolean> {
    const { transactionalId: id, transactionTimeoutMs: timeoutMs } = this.#options
    const what = 'InitProducerId'
    const found = await this.#ask(what, signal, async (link) => {
      const answer = await initProducerId(link, id, id === null ? 0 : timeoutMs, own)
      return { code: answer.error, answer }
    })
    if (EPOCH_REFUSED.has(found.code)) return false
    if (found.code === KafkaCode.invalidTransactionTimeout) {
      throw new TidemarkError('kafka.transaction_timeout', {
        message: `transaction.timeout.ms ${timeoutMs} is more than the brokers' transaction.max.timeout.ms`,
        fix: "Lower transaction.timeout.ms, or raise the brokers' limit.",
      })
    }
    if (found.code !== KafkaCode.none) throw refused(found.code, what, this.#who())
    const { producerId, epoch } = found.answer
    this.#own = { producerId, epoch }
    this.#refusedEpoch = false
    this.#begun = false
    this.#openForSure = false
    this.#queue.reset(this.#own)
    return true
  }

  async #add(partitions: readonly TopicPartition[]): Promise<void> {
    const id = this.#options.transactionalId!
    const what = 'AddPartitionsToTxn'
    this.#begun = true
    const { code, topic } = await this.#ask(what, this.#closed.signal, async (link) => {
      const answers = await addPartitionsToTxn(link, id, this.#own, partitions)
      // One partition's error leaves the others "not attempted".
      const failed = answers.filter(([, , error]) => error !== KafkaCode.none)
      const [name, , error] = failed.find(([, , each]) => each !== KafkaCode.operationNotAttempted) ??
        failed[0] ?? ['', 0, 0]
      return { code: error, topic: name }
    })
    if (EPOCH_REFUSED.has(code)) throw this.#epochRefused(code, what)
    if (code === KafkaCode.topicAuthorizationFailed || code === KafkaCode.unknownTopicOrPartition) {
      throw refused(code, what, `topic ${topic}`)
    }
    if (code !== KafkaCode.none) throw refused(code, what, this.#who())
    this.#openForSure = true
  }

  async #end(commit: boolean, signal: AbortSignal): Promise<void> {
    const id = this.#options.transactionalId!
    const what = commit ? 'the commit' : 'the abort'
    const wasOpen = this.#openForSure
    let asked = 0
    this.#openForSure = false
    const { code } = await this.#ask(
      what,
      signal,
      async (link) => {
        asked++
        return { code: await endTxn(link, id, this.#own, commit) }
      },
      (ended, afterMs, last) => {
        const { message } = gaveUp(ended, afterMs, last)
        return new TidemarkError('kafka.outcome_unknown', {
          message: `${this.#who()}: ${message}`,
          fix: 'The next start reads back whether it took effect.',
          retriable: true,
        })
      },
    )
    if (code === KafkaCode.none) return
    if (EPOCH_REFUSED.has(code)) {
      // An earlier answer that was lost may have been that it is ended.
      this.#openForSure = wasOpen && asked === 1
      const error = this.#epochRefused(code, what)
      if (commit) throw error
      return
    }
    // The transaction was ended otherwise, or there was none.
    if (code === KafkaCode.invalidTxnState && !commit) return
    if (NOT_PERMITTED.has(code)) throw refused(code, what, this.#who())
    throw new TidemarkError('kafka.transaction_aborted', {
      message: `${this.#who()}: Kafka answered ${what} with ${codeName(code)}`,
      retriable: true,
    })
  }

  /** Asks the coordinator until it has an answer other than that it is busy. */
  #ask<T extends { readonly code: number }>(
    what: string,
    signal: AbortSignal,
    request: (link: Link) => Promise<T>,
    late = gaveUp,
  ): Promise<T> {
    const { retryMs } = this.#nodes.options
    return repeat<T>(what, { retryMs, signal, late }, async () => {
      try {
        const link = await this.#coordinatorLink(signal)
        if (link instanceof Busy) return link
        const answer = await abortable(request(link), signal)
        if (!COORDINATOR_BUSY.has(answer.code)) return answer
        if (answer.code === KafkaCode.notCoordinator || answer.code === KafkaCode.coordinatorNotAvailable) {
          this.#coordinator = null
        }
        return new Busy(answer.code)
      } catch (error) {
        if (isConnectionLost(error)) this.#coordinator = null
        throw error
      }
    })
  }

  async #coordinatorLink(signal: AbortSignal): Promise<Link | Busy> {
    const id = this.#options.transactionalId
    if (id === null) return this.#nodes.any('control', { signal })
    if (this.#coordinator === null) {
      const any = await this.#nodes.any('control', { signal })
      const { error, address } = await abortable(findCoordinator(any, id), signal)
      if (COORDINATOR_BUSY.has(error)) return new Busy(error)
      if (error !== KafkaCode.none) throw refused(error, 'FindCoordinator', this.#who())
      this.#coordinator = address
    }
    return this.#nodes.linkTo(this.#coordinator, 'control', { signal })
  }

  // ---- errors

  #who(): string {
    const id = this.#options.transactionalId
    return id === null ? 'the idempotent producer' : `transactional id ${id}`
  }

  #epochRefused(code: number, what: string): TidemarkError {
    this.#refusedEpoch = true
    return new TidemarkError('kafka.epoch_refused', {
      message: `${this.#who()}: Kafka answered ${what} with ${codeName(code)} for producer ${this.producerId}, epoch ${this.epoch}: another process took the id over, or the transaction was open for longer than transaction.timeout.ms (${this.#options.transactionTimeoutMs})`,
      retriable: true,
    })
  }

  #fenced(): TidemarkError {
    return new TidemarkError('sink.fenced', {
      message: `${this.#who()}: another process has taken it over from producer ${this.producerId}, epoch ${this.epoch}`,
    })
  }

  #timedOut(): TidemarkError {
    return new TidemarkError('kafka.transaction_timed_out', {
      message: `${this.#who()}: Kafka aborted the transaction because it was open for longer than transaction.timeout.ms (${this.#options.transactionTimeoutMs})`,
      fix: 'Commit more often (checkpoint.interval), or raise transaction.timeout.ms.',
      retriable: true,
    })
  }
}
