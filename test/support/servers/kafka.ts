/**
 * Starts Apache Kafka (KRaft) on loopback: one broker, or three of which the first is the controller too. Each has its own
 * ports and log folder, small enough to run beside the tests; everything goes when the work folder does.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, copyFileSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { makeWorkFolder, type WorkFolder } from '../../../cli/demo/work-folder.js'
import { until } from '../until.js'
import { bootstrapFile, kafkaJars } from './kafka-jars.js'
import { FOLDER_PREFIX } from './start.js'

const HEAP = '512m'
const START_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 15_000
const LOG_TAIL_CHARACTERS = 4_000

export interface KafkaServerOptions {
  /** Of the first broker's PLAINTEXT listener; any free one by default. */
  readonly port?: number
  readonly brokers?: 1 | 3
  /** Added to every broker's server.properties. */
  readonly properties?: Readonly<Record<string, string>>
  /** Listeners beside PLAINTEXT, by name: their security protocol and listener.name.<name>.* properties. */
  readonly listeners?: Readonly<Record<string, Listener>>
  /** Features as in a cluster that was upgraded from Kafka 3: transactions of version 0. */
  readonly upgraded?: boolean
}

export interface Listener {
  readonly protocol: 'SSL' | 'SASL_PLAINTEXT' | 'SASL_SSL'
  readonly properties: Readonly<Record<string, string>>
}

export class KafkaNode {
  readonly id: number
  readonly port: number
  /** Ports by listener. */
  readonly ports: ReadonlyMap<string, number>
  readonly #folder: string
  readonly #jars: string
  #child: ChildProcess | null = null

  constructor(id: number, ports: ReadonlyMap<string, number>, folder: string, jars: string) {
    this.id = id
    this.ports = ports
    this.port = ports.get('PLAINTEXT')!
    this.#folder = folder
    this.#jars = jars
  }

  get running(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null
  }

  logTail(): string {
    return readFileSync(join(this.#folder, 'log'), 'utf8').slice(-LOG_TAIL_CHARACTERS)
  }

  launch(): void {
    const log = openSync(join(this.#folder, 'log'), 'a')
    const quiet = '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn'
    const speed = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xshare:auto']
    const args = [
      `-Xmx${HEAP}`,
      ...speed,
      quiet,
      '-cp',
      `${this.#jars}/*`,
      'kafka.Kafka',
      join(this.#folder, 'server.properties'),
    ]
    this.#child = spawn('java', args, { stdio: ['ignore', log, log], detached: true })
    closeSync(log)
  }

  async ready(): Promise<void> {
    await until(
      () => {
        if (!this.running) throw new Error(`broker ${this.id} ended:\n${this.logTail()}`)
        return accepts(this.port)
      },
      { timeoutMs: START_TIMEOUT_MS, what: `broker ${this.id} listens` },
    )
  }

  async start(): Promise<void> {
    this.launch()
    await this.ready()
  }

  /** SIGTERM, then SIGKILL. */
  async stop(): Promise<void> {
    if (!this.running) return
    const child = this.#child!
    child.kill('SIGTERM')
    try {
      await until(() => !this.running, { timeoutMs: STOP_TIMEOUT_MS })
    } catch {
      await this.kill()
    }
  }

  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await until(() => !this.running, { timeoutMs: STOP_TIMEOUT_MS, what: `broker ${this.id} is gone` })
  }
}

export interface KafkaServer {
  readonly nodes: readonly KafkaNode[]
  /** Bootstrap servers of a listener. */
  address(listener?: string): string
  stop(): Promise<void>
}

export async function startKafkaServer(
  options: KafkaServerOptions = {},
  note: (line: string) => void = (line) => process.stderr.write(`# ${line}\n`),
): Promise<KafkaServer> {
  const jars = kafkaJars(note)
  const work = makeWorkFolder(FOLDER_PREFIX)
  const ids = options.brokers === 3 ? [1, 2, 3] : [1]
  const names = ['PLAINTEXT', ...Object.keys(options.listeners ?? {})]
  const free = await freePorts(1 + ids.length * names.length)
  const controller = free.pop()!
  const nodes = ids.map((id) => {
    const ports = new Map(names.map((name) => [name, free.pop()!]))
    if (id === 1 && options.port !== undefined) ports.set('PLAINTEXT', options.port)
    const folder = join(work.path, `kafka-${id}`)
    prepareFolder(folder, id, ports, controller, ids.length, options)
    // What `kafka-storage format` writes is what the features of a new cluster are.
    if (!options.upgraded) copyFileSync(bootstrapFile(jars), join(folder, 'data', 'bootstrap.checkpoint'))
    return new KafkaNode(id, ports, folder, jars)
  })
  const server: KafkaServer = {
    nodes,
    address: (listener = 'PLAINTEXT') => nodes.map((node) => `127.0.0.1:${node.ports.get(listener)}`).join(','),
    stop: () => stopAll(nodes, work),
  }
  try {
    for (const node of nodes) node.launch()
    for (const node of nodes) await node.ready()
    return server
  } catch (error) {
    await server.stop()
    throw error
  }
}

async function stopAll(nodes: readonly KafkaNode[], work: WorkFolder): Promise<void> {
  // Brokers first: they say goodbye to the controller.
  for (const node of [...nodes].reverse()) await (nodes.length > 1 ? node.kill() : node.stop())
  work.remove()
}

function prepareFolder(
  folder: string,
  id: number,
  ports: ReadonlyMap<string, number>,
  controller: number,
  brokers: number,
  { properties, listeners = {} }: KafkaServerOptions,
): void {
  const data = join(folder, 'data')
  mkdirSync(data, { recursive: true })
  const uuid = () => randomBytes(16).toString('base64url')
  // What `kafka-storage format` would write, without a Java process of its own.
  writeFileSync(
    join(data, 'meta.properties'),
    `version=1\ncluster.id=${CLUSTER_ID}\nnode.id=${id}\ndirectory.id=${uuid()}\n`,
  )
  const all = [...ports].map(([name, port]) => `${name}://127.0.0.1:${port}`)
  const protocols = [
    'PLAINTEXT:PLAINTEXT',
    'CONTROLLER:PLAINTEXT',
    ...Object.entries(listeners).map(([name, { protocol }]) => `${name}:${protocol}`),
  ]
  const replicas = String(brokers)
  const settings: Record<string, string> = {
    'process.roles': id === 1 ? 'broker,controller' : 'broker',
    'node.id': String(id),
    'controller.quorum.voters': `1@127.0.0.1:${controller}`,
    listeners: [...all, ...(id === 1 ? [`CONTROLLER://127.0.0.1:${controller}`] : [])].join(','),
    'advertised.listeners': all.join(','),
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAINTEXT',
    'listener.security.protocol.map': protocols.join(','),
    'log.dirs': data,
    'auto.create.topics.enable': 'false',
    'num.network.threads': '2',
    'num.io.threads': '4',
    'offsets.topic.replication.factor': replicas,
    'offsets.topic.num.partitions': '1',
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': brokers > 1 ? '2' : '1',
    'transaction.state.log.num.partitions': '1',
    'share.coordinator.state.topic.replication.factor': '1',
    'share.coordinator.state.topic.min.isr': '1',
    'group.initial.rebalance.delay.ms': '0',
    'controlled.shutdown.enable': 'true',
    'transaction.abort.timed.out.transaction.cleanup.interval.ms': '500',
    ...Object.fromEntries(
      Object.entries(listeners).flatMap(([name, listener]) =>
        Object.entries(listener.properties).map(([key, value]) => [
          `listener.name.${name.toLowerCase()}.${key}`,
          value,
        ]),
      ),
    ),
    ...properties,
  }
  const lines = Object.entries(settings).map(([key, value]) => `${key}=${value.trim().replaceAll('\n', '\\n')}`)
  writeFileSync(join(folder, 'server.properties'), `${lines.join('\n')}\n`)
}

const CLUSTER_ID = randomBytes(16).toString('base64url')

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const end = (answer: boolean) => {
      socket.destroy()
      resolve(answer)
    }
    socket.once('connect', () => end(true)).once('error', () => end(false))
  })
}

/** All held at once, so that they differ. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
          const server = createServer()
          server.once('error', reject).listen(0, '127.0.0.1', () => resolve(server))
        }),
    ),
  )
  const ports = servers.map((server) => (server.address() as { port: number }).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}
