import t, { type Test } from 'tap'
import '../../src/kafka/client.ts'
import { readRanges, topicRanges } from '../../src/kafka/topic-reader.ts'
import { eventually, newNamespace } from '../helper.ts'
import { put } from '../support/relays.ts'
import { kafka } from '../support/tools.ts'

/** A topic with one committed record, and one of a transaction that somebody has left open. */
async function startTransaction (t: Test) {
  const topic = newNamespace()
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] })
  await admin.disconnect()
  await put(topic, [{ key: 'committed', value: '1' }])
  const producer = kafka.producer({ transactionalId: topic, maxInFlightRequests: 1 })
  await producer.connect()
  t.teardown(() => producer.disconnect())
  const transaction = await producer.transaction()
  await transaction.send({ topic, messages: [{ key: 'open', value: '2' }] })
  const ranges = await topicRanges(kafka, topic)
  const keys: string[] = []
  const read = readRanges({
    kafka,
    topic,
    ranges,
    signal: new AbortController().signal,
    onRecord: ({ key }) => {
      keys.push(String(key))
    }
  })
  return { transaction, ranges, keys, read }
}

t.test('the end of a topic covers transactions that are not finished, and the reader waits for them', async (t) => {
  const { transaction, ranges, keys, read } = await startTransaction(t)
  t.strictSame(ranges, [{ low: 0, start: 0, high: 2 }])
  await transaction.commit()
  await read
  t.strictSame(keys, ['committed', 'open'])
})

t.test('what a transaction took back is passed over, at the end too', async (t) => {
  const { transaction, keys, read } = await startTransaction(t)
  await transaction.abort()
  await read
  t.strictSame(keys, ['committed'])
})

t.test('partitions that are read at once leave no connection open', async (t) => {
  const topic = newNamespace()
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 8 }] })
  await admin.disconnect()
  await put(topic, Array.from({ length: 8 }, (_, partition) => ({ partition, value: '1' })))
  const sockets = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length
  const before = sockets()
  let records = 0
  const signal = new AbortController().signal
  await readRanges({ kafka, topic, ranges: await topicRanges(kafka, topic), signal, onRecord: () => { records++ } })
  t.equal(records, 8)
  await eventually(() => sockets() <= before, 5_000, 'the end of all connections')
})
