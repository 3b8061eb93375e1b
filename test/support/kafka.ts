/**
 * Kafka for tests. sharedKafka gives the broker of TIDEMARK_TEST_KAFKA=host:port (test-servers.mjs sets it), or one that is
 * started once for this test file; startKafka gives a cluster of one's own. What a topic holds is judged by Java's own
 * consumer (servers/KafkaJudge.java), one JVM for a test file.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createInterface } from 'node:readline'
import tap from 'tap'
import type { KafkaOptions } from '../../drivers/kafka.js'
import { compileJava } from './servers/java.js'
import { type KafkaServer, type KafkaServerOptions, startKafkaServer } from './servers/kafka.js'
import { kafkaJars } from './servers/kafka-jars.js'

interface Teardown {
  teardown(handler: () => Promise<void> | void): unknown
}

export interface JudgedRecord {
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly (readonly [string, Buffer | null])[]
}

export interface ReadOptions {
  readonly isolation?: 'read_committed' | 'read_uncommitted'
  /** Wait until no transaction is open in the topic. Default true. */
  readonly settled?: boolean
  readonly timeoutMs?: number
}

export interface Tally {
  readonly count: number
  readonly distinct: number
  readonly wrong: number
}

export interface TopicOptions {
  readonly partitions?: number
  readonly replication?: number
  readonly config?: Readonly<Record<string, string>>
  /** Replicas of each partition, the first one its leader. */
  readonly assignment?: readonly (readonly number[])[]
}

const READ_TIMEOUT_MS = 60_000
const JUDGE_HEAP = '512m'
const JUDGE = new URL('servers/KafkaJudge.java', import.meta.url)

export class TestKafka {
  readonly bootstrap: string
  readonly #judge: Judge

  constructor(bootstrap: string, judge: Judge) {
    this.bootstrap = bootstrap
    this.#judge = judge
  }

  /** Options of our driver for a test, with short times. */
  options(change: Partial<KafkaOptions> = {}): KafkaOptions {
    return {
      brokers: this.bootstrap.split(','),
      clientId: 'tidemark-test',
      connectTimeoutMs: 5_000,
      requestTimeoutMs: 10_000,
      retryMs: 20_000,
      ...change,
    }
  }

  /** A topic with a name of its own. */
  async createTopic(topic: TopicOptions = {}): Promise<string> {
    const name = `t-${process.pid}-${randomBytes(4).toString('hex')}`
    await this.createNamed(name, topic)
    return name
  }

  async createNamed(name: string, topic: TopicOptions): Promise<void> {
    const { partitions = 1, replication = 1, config = {}, assignment } = topic
    await this.#judge.ask({
      do: 'create',
      bootstrap: this.bootstrap,
      topic: name,
      partitions,
      replication,
      config,
      ...(assignment ? { assignment } : {}),
    })
  }

  /** Every topic there is, those of Kafka itself too. */
  async topics(): Promise<readonly string[]> {
    return (await this.#judge.ask({ do: 'topics', bootstrap: this.bootstrap })).topics
  }

  async deleteTopic(topic: string): Promise<void> {
    await this.#judge.ask({ do: 'delete', bootstrap: this.bootstrap, topic })
  }

  /** Every record that Java's consumer sees, by partition and offset. */
  async read(topic: string, options: ReadOptions = {}): Promise<JudgedRecord[]> {
    const { records } = await this.#judge.ask(this.#reading(topic, options, false))
    return records
      .map((record) => ({
        ...record,
        key: fromBase64(record.key),
        value: fromBase64(record.value),
        headers: record.headers.map(([name, value]) => [name, fromBase64(value)] as const),
      }))
      .sort((a, b) => a.partition - b.partition || a.offset - b.offset)
  }

  /** How many records Java's consumer sees. */
  async count(topic: string, options: ReadOptions = {}): Promise<number> {
    return (await this.#judge.ask(this.#reading(topic, options, true))).count
  }

  /** Rows with ids from 1 to `rows` that say their id in key and value: how many came once, and how many records are none of those. */
  async tally(topic: string, rows: number, options: ReadOptions = {}): Promise<Tally> {
    const { count, distinct, wrong } = await this.#judge.ask({ ...this.#reading(topic, options, true), tallied: rows })
    return { count, distinct, wrong }
  }

  #reading(topic: string, options: ReadOptions, countOnly: boolean): object {
    const { isolation = 'read_committed', settled = true, timeoutMs = READ_TIMEOUT_MS } = options
    return { do: 'read', bootstrap: this.bootstrap, topic, isolation, settled, timeoutMs, countOnly }
  }

  /** Makes the first of the replicas the partition's leader. */
  async lead(topic: string, partition: number, replicas: readonly number[]): Promise<void> {
    await this.#judge.ask({ do: 'lead', bootstrap: this.bootstrap, topic, partition, replicas })
  }

  /** Takes records away at the beginning of a log, as retention does. */
  async deleteRecords(topic: string, partition: number, before: number): Promise<void> {
    await this.#judge.ask({ do: 'trim', bootstrap: this.bootstrap, topic, partition, before })
  }

  async addPartitions(topic: string, partitions: number): Promise<void> {
    await this.#judge.ask({ do: 'grow', bootstrap: this.bootstrap, topic, partitions })
  }

  /** Where Java's default partitioner puts keys. */
  async partitions(keys: readonly Buffer[], count: number): Promise<readonly number[]> {
    const texts = keys.map((key) => key.toString('base64'))
    return (await this.#judge.ask({ do: 'partitions', bootstrap: this.bootstrap, keys: texts, count })).partitions
  }

  async scramUser(user: string, password: string, mechanism: 'SCRAM-SHA-256' | 'SCRAM-SHA-512'): Promise<void> {
    await this.#judge.ask({ do: 'scram', bootstrap: this.bootstrap, user, password, mechanism })
  }

  async allow(
    user: string,
    operation: string,
    resource: 'TOPIC' | 'TRANSACTIONAL_ID' | 'CLUSTER',
    name: string,
  ): Promise<void> {
    await this.#judge.ask({ do: 'acl', bootstrap: this.bootstrap, user, operation, resource, name })
  }
}

let shared: Promise<TestKafka> | null = null

/** The shared broker. */
export function sharedKafka(): Promise<TestKafka> {
  shared ??= (async () => {
    const given = process.env.TIDEMARK_TEST_KAFKA
    if (given) return new TestKafka(given, new Judge(tap))
    const server = await startKafkaServer()
    tap.teardown(() => server.stop())
    return new TestKafka(server.address(), new Judge(tap))
  })()
  return shared
}

/** A cluster of one's own. */
export async function startKafka(
  t: Teardown,
  options: KafkaServerOptions = {},
): Promise<{ readonly kafka: TestKafka; readonly server: KafkaServer }> {
  const server = await startKafkaServer(options)
  // Handlers run in the reverse of their order: the judge ends first.
  t.teardown(() => server.stop())
  return { server, kafka: new TestKafka(server.address(), new Judge(t)) }
}

interface RawRecord extends Omit<JudgedRecord, 'key' | 'value' | 'headers'> {
  readonly key: string | null
  readonly value: string | null
  readonly headers: readonly (readonly [string, string | null])[]
}

interface JudgeAnswer {
  readonly records: RawRecord[]
  readonly count: number
  readonly distinct: number
  readonly wrong: number
  readonly partitions: readonly number[]
  readonly topics: readonly string[]
}

/** The JVM, started with the first question. */
class Judge {
  #child: ChildProcess | null = null
  #lines: AsyncIterator<string> | null = null
  #stderr = ''
  #turn: Promise<unknown> = Promise.resolve()

  constructor(t: Teardown) {
    t.teardown(() => {
      this.#child?.kill('SIGKILL')
    })
  }

  ask(command: object): Promise<JudgeAnswer> {
    const answer = this.#turn.then(() => this.#ask(command))
    this.#turn = answer.catch(() => {})
    return answer
  }

  async #ask(command: object): Promise<JudgeAnswer> {
    if (!this.#child) this.#start()
    this.#child!.stdin!.write(`${JSON.stringify(command)}\n`)
    const records: RawRecord[] = []
    for (;;) {
      const { value, done } = await this.#lines!.next()
      if (done) throw new Error(`the judge ended:\n${this.#stderr}`)
      const line = JSON.parse(value) as RawRecord & Partial<JudgeAnswer> & { end?: boolean; error?: string }
      if (line.error !== undefined) throw new Error(`the judge: ${line.error}`)
      const { count = 0, distinct = 0, wrong = 0, partitions = [], topics = [] } = line
      if (line.end) return { records, count, distinct, wrong, partitions, topics }
      records.push(line)
    }
  }

  #start(): void {
    const jars = kafkaJars((line) => process.stderr.write(`# ${line}\n`))
    const args = [
      '-Xmx'.concat(JUDGE_HEAP),
      '-XX:TieredStopAtLevel=1',
      '-XX:+UseSerialGC',
      '-cp',
      `${compileJava(JUDGE, jars)}:${jars}/*`,
    ]
    const log = '-Dorg.slf4j.simpleLogger.defaultLogLevel=error'
    const child = spawn('java', [log, ...args, 'KafkaJudge'], { stdio: ['pipe', 'pipe', 'pipe'] })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text
    })
    child.stdin.on('error', () => {})
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    this.#child = child
  }
}

function fromBase64(text: string | null): Buffer | null {
  return text === null ? null : Buffer.from(text, 'base64')
}
