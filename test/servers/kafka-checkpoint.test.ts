/** A checkpoint topic that lost its checkpoint or holds what nobody understands, and what `check` says of it and of the topics. */
import t, { type Test } from 'tap'
import { KafkaCluster, KafkaProducer, PackWriter } from '../../drivers/kafka.js'
import { sharedKafka } from '../support/kafka.js'
import { kafkaPipeline } from '../support/kafka-sink.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark } from '../support/process.js'

const kafka = await sharedKafka()
const { signal } = new AbortController()
const BATCH_BYTES = 4_096

async function synced(t: Test) {
  const source = await createDatabase(t)
  await source.query('create table w (id int primary key); insert into w select generate_series(1, 10)')
  const name = source.name
  const { file } = kafkaPipeline(t, { source, kafka, name })
  const run = (...args: string[]) => runTidemark(t, [args[0]!, file, ...args.slice(1)])
  const once = await run('sync', '--once')
  if (once.code !== 0) throw new Error(once.stderr)
  return { source, run, file, data: `${name}.public.w`, topic: `tidemark-checkpoint-${name}` }
}

/** A record that nobody of ours wrote. */
async function put(topic: string, key: string, value: string): Promise<void> {
  const cluster = await KafkaCluster.connect(kafka.options(), { signal })
  const given = { transactionalId: null, transactionTimeoutMs: 10_000, compression: 'none' } as const
  const producer = await KafkaProducer.open(cluster, { ...given, maxMessageBytes: () => BATCH_BYTES }, { signal })
  const writer = new PackWriter(topic, 0, BATCH_BYTES)
  const [keys, values] = [Buffer.from(key), Buffer.from(value)]
  writer.append(Date.now(), keys, 0, keys.length, values, 0, values.length)
  await producer.send([writer.take()])
  await producer.close()
  await cluster.close()
}

t.test('a checkpoint topic that was deleted is named, and stays away until the source agrees', async (t) => {
  const { source, run, topic } = await synced(t)
  await kafka.deleteTopic(topic)
  const status = await run('status')
  t.match(status.stdout, /checkpoint: none, although the source holds/)
  const check = await run('check')
  t.equal(check.code, 3)
  t.match(check.stdout, new RegExp(`checkpoint topic ${topic} holds no checkpoint`))
  const sync = await run('sync', '--once')
  t.equal(sync.code, 3)
  t.match(sync.stderr, new RegExp(`checkpoint topic ${topic} holds no checkpoint`))
  t.match(sync.stderr, /tidemark drop FILE/)
  t.notOk((await kafka.topics()).includes(topic), 'a refused start makes no topic')
  t.match((await run('drop', '--yes')).stdout, /replication slot/)
  t.same(await source.query('select 1 from pg_replication_slots where database = current_database()'), [])
  const status2 = await run('status')
  t.match(status2.stdout, /the next run starts anew/)
  const again = await run('sync', '--once')
  t.equal(again.code, 0, again.stderr)
  t.match(again.stderr, /holds messages already/)
})

t.test('a record that nobody understands is named, and drop frees the source all the same', async (t) => {
  const { source, run, topic } = await synced(t)
  await put(topic, 'checkpoint', 'junk')
  const where = /record of key checkpoint at offset \d+ of partition 0 is not JSON/
  const sync = await run('sync', '--once')
  t.equal(sync.code, 3)
  t.match(sync.stderr, where)
  const check = await run('check')
  t.equal(check.code, 3)
  t.match(check.stdout, where)
  const drop = await run('drop', '--yes')
  t.equal(drop.code, 3)
  t.match(drop.stdout, /replication slot/)
  t.match(drop.stderr, where)
  t.same(await source.query('select 1 from pg_replication_slots where database = current_database()'), [])
})

t.test('check names topics that a start would stop at', async (t) => {
  const { run, data, topic } = await synced(t)
  t.equal((await run('check')).code, 0)
  await kafka.addPartitions(data, 4)
  const grown = await run('check')
  t.equal(grown.code, 3)
  t.match(grown.stdout, new RegExp(`topic ${data} has 4 partitions and had 3`))
  await kafka.deleteTopic(data)
  const gone = await run('check')
  t.equal(gone.code, 3)
  t.match(gone.stdout, new RegExp(`topic ${data}, which this pipeline has written, does not exist any more`))
  const other = await run('check', '--set', 'pipeline.name=another', '--set', `sink.checkpoint.topic=${topic}`)
  t.equal(other.code, 3)
  t.match(other.stdout, /belongs to pipeline/)
  const filled = await run('check', '--set', 'pipeline.name=another', '--set', `sink.topic=${topic}`)
  t.match(filled.stdout, /holds messages already/)
})
