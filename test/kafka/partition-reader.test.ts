import t, { type Test } from 'tap'
import { withAdmin } from '../../src/kafka/admin.ts'
import { withCluster, type Cluster } from '../../src/kafkajs/cluster.ts'
import { readPartition, type PartitionPart } from '../../src/kafka/partition-reader.ts'
import { readRanges, topicRanges } from '../../src/kafka/topic-reader.ts'
import { eventually, newNamespace } from '../helper.ts'
import { createTopic, kafka, put } from '../support/relays.ts'

/** Cleaning begins at the next of its turns, which come every 15 s. */
const COMPACTION_MS_MAX = 50_000

async function newTopic (configEntries: { name: string, value: string }[] = []): Promise<string> {
  const topic = newNamespace()
  await createTopic({ topic, numPartitions: 1, configEntries })
  return topic
}

/** @returns the keys of what was read */
async function read (
  topic: string,
  part: Partial<PartitionPart>,
  wrap = (cluster: Cluster): Cluster => cluster
): Promise<string[]> {
  const until = part.until ?? (await topicRanges(kafka, topic))[0]!.high
  const keys: string[] = []
  await withCluster(kafka, topic, async (cluster) => {
    const onRecord: PartitionPart['onRecord'] = ({ key }) => {
      keys.push(String(key))
    }
    await readPartition({ cluster: wrap(cluster), topic, partition: 0, from: 0, until, onRecord, ...part })
  })
  return keys
}

async function openTransaction (t: Test, topic: string) {
  const producer = kafka.producer({ transactionalId: topic, maxInFlightRequests: 1 })
  await producer.connect()
  t.teardown(() => producer.disconnect())
  return await producer.transaction()
}

const keysOf = (count: number): { key: string, value: string }[] =>
  Array.from({ length: count }, (_, index) => ({ key: `key-${index}`, value: 'value' }))

t.test('what was aborted is passed over, in the midst and at the end', async (t) => {
  const topic = await newTopic()
  await put(topic, [{ key: 'first', value: '' }])
  const aborted = await openTransaction(t, topic)
  await aborted.send({ topic, messages: keysOf(3) })
  await aborted.abort()
  await put(topic, [{ key: 'second', value: '' }])
  const last = await openTransaction(t, `${topic}`)
  await last.send({ topic, messages: keysOf(2) })
  await last.abort()
  t.strictSame(await read(topic, {}), ['first', 'second'])
})

t.test('it begins and stops in the midst of a batch', async (t) => {
  const topic = await newTopic()
  await put(topic, keysOf(10))
  const progress: number[] = []
  const keys = await read(topic, { from: 2, until: 6, onProgress: (position) => { progress.push(position) } })
  t.strictSame(keys, ['key-2', 'key-3', 'key-4', 'key-5'])
  t.ok(progress.at(-1)! >= 6)
})

t.test('what retention removes during the read is passed over', async (t) => {
  const topic = await newTopic()
  // Each send is a batch of 600 kB, so that one answer of the broker holds a few of the twenty only.
  for (let batch = 0; batch < 20; batch++) await put(topic, [{ key: `key-${batch}`, value: 'x'.repeat(600_000) }])
  let fetches = 0
  const keys = await read(topic, {}, (cluster) => ({
    ...cluster,
    addTargetTopic: (name) => cluster.addTargetTopic(name),
    refreshMetadata: () => cluster.refreshMetadata(),
    findLeaderForPartitions: (name, partitions) => cluster.findLeaderForPartitions(name, partitions),
    fetchTopicsOffset: (topics) => cluster.fetchTopicsOffset(topics),
    async findBroker (node) {
      if (++fetches === 2) {
        const partitions = [{ partition: 0, offset: '17' }]
        await withAdmin(kafka, 'retention', async (admin) => {
          await admin.fetchTopicMetadata({ topics: [topic] }) // kafkajs has to know who leads it
          await eventually(
            () =>
              admin.deleteTopicRecords({ topic, partitions }).then(
                () => true,
                () => false
              ),
            10_000,
            'retention'
          )
        })
      }
      return await cluster.findBroker(node)
    }
  }))
  t.equal(keys[0], 'key-0')
  t.strictSame(keys.slice(-3), ['key-17', 'key-18', 'key-19'])
  t.ok(keys.length < 15, `${keys.length} of 20 were still there when they were read`)
})

t.test('partitions that are read at once share one connection, and none is left behind', async (t) => {
  const topic = newNamespace()
  await createTopic({ topic, numPartitions: 8 })
  await put(topic, keysOf(40))
  const sockets = () => process.getActiveResourcesInfo().filter((resource) => resource === 'TCPSocketWrap').length
  const before = sockets()
  let keys = 0
  await readRanges({
    kafka,
    topic,
    ranges: await topicRanges(kafka, topic),
    signal: new AbortController().signal,
    onRecord: () => {
      keys++
    }
  })
  t.equal(keys, 40)
  await eventually(() => sockets() <= before, 10_000, 'closed connections')
})

t.test('a transaction that stays open ends the wait with a clear error', async (t) => {
  const topic = await newTopic()
  await put(topic, [{ key: 'first', value: '' }])
  const open = await openTransaction(t, topic)
  await open.send({ topic, messages: keysOf(1) })
  await t.rejects(read(topic, { idleMsMax: 300 }), {
    message: `partition 0 of ${topic} can't be read beyond offset 1 (it ends at 2): a transaction that was left open may hold it up, which kafka-transactions.sh find-hanging names`
  })
  await open.commit()
  t.strictSame(await read(topic, { idleMsMax: 10_000 }), ['first', 'key-0'])
})

t.test('it ends when it is asked to', async (t) => {
  const topic = await newTopic()
  const open = await openTransaction(t, topic)
  await open.send({ topic, messages: keysOf(1) })
  await t.rejects(read(topic, { signal: AbortSignal.timeout(300) }), { name: 'TimeoutError' })
  await open.abort()
})

t.test('gaps that compaction left are passed over, also at the end', async (t) => {
  const topic = await newTopic([
    { name: 'cleanup.policy', value: 'compact' }, { name: 'segment.ms', value: '100' },
    { name: 'min.cleanable.dirty.ratio', value: '0.001' }, { name: 'delete.retention.ms', value: '0' }
  ])
  for (let round = 0; round < 3; round++) {
    await put(topic, keysOf(5))
    await put(topic, [{ key: 'other', value: String(round) }])
  }
  const { high } = (await topicRanges(kafka, topic))[0]!
  const compacted = await eventually(async () => {
    await put(topic, [{ key: 'later', value: '' }]) // only a segment that is closed is compacted
    const keys = await read(topic, { until: high })
    return keys.length < high ? keys : undefined
  }, COMPACTION_MS_MAX, 'compaction')
  t.ok(compacted.length >= 5)
  t.equal(new Set(compacted.slice(-6)).size, Math.min(6, compacted.length), 'the last of each key are left')
})

t.test('a batch whose last record compaction has removed counts to its own end', async (t) => {
  const batchContext = { producerId: '-1', inTransaction: false, firstOffset: '0', lastOffsetDelta: 2 }
  const messages = [{ offset: '0', key: Buffer.from('key-0'), isControlRecord: false, batchContext }]
  const broker = { fetch: async () => ({ responses: [{ partitions: [{ partition: 0, messages }] }] }) }
  const cluster = { findLeaderForPartitions: () => ({ 1: [0] }), findBroker: async () => broker } as unknown as Cluster
  const keys: string[] = []
  const onRecord: PartitionPart['onRecord'] = ({ key }) => { keys.push(String(key)) }
  await readPartition({ cluster, topic: 'any', partition: 0, from: 0, until: 3, onRecord, idleMsMax: 200 })
  t.strictSame(keys, ['key-0'])
})
