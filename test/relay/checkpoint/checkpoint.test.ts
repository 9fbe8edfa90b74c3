import { Kafka, logLevel } from 'kafkajs'
import type { Timestamp } from 'mongodb'
import t, { type Test } from 'tap'
import { checkpointTopicOf, readCheckpoint, relayNames } from '../../../src/relay/checkpoint/checkpoint.ts'
import { openOrderEventsProducer } from '../../../src/kafka.ts'
import { createHeldOrders, type HeldDocument } from '../../../src/relay/publishing/held-orders.ts'
import { createLease, type LeaseDocument } from '../../../src/mongo/lease.ts'
import { createRelay } from '../../../src/relay/relay.ts'
import { assertExactlyOnce, connectMongo, failCommand, forkService, leads, startOwnPart } from '../../support/faults.ts'
import { collectEvents, databaseUrl, eventually, newNamespace, parts, post, startService } from '../../helper.ts'

const kafka = new Kafka({ brokers: parts.kafkaBrokers.split(','), logLevel: logLevel.NOTHING })
const nowhere = '127.0.0.1:9'

t.test('orders from before Kafka was ever reachable are published, each once', async (t) => {
  const namespace = newNamespace()
  const before = await startService(t, { KAFKA_BROKERS: nowhere }, namespace)
  const ids: string[] = []
  for (let i = 0; i < 20; i++) ids.push((await post(before.url)).body._id)
  await before.close()

  const service = await startService(t, {}, namespace)
  await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
  const collected = await collectEvents(t, namespace)
  await assertExactlyOnce(t, {
    client: await connectMongo(t, parts.mongoUrl),
    namespace,
    ids,
    collected,
    url: service.url
  })
})

t.test("the checkpoint of another database on the same topic is not taken for one's own", async (t) => {
  const topic = newNamespace()
  const early = await startService(t, { KAFKA_TOPIC: topic, KAFKA_BROKERS: nowhere })
  const { body: order } = await post(early.url)
  await early.close()
  const other = await startService(t, { KAFKA_TOPIC: topic })
  await eventually(() => other.api.relay?.leads, 30_000, 'a leader')
  const { body: otherOrder } = await post(other.url) // its checkpoint is behind `order`
  const collected = await collectEvents(t, topic)
  await collected.forOrders([otherOrder._id])

  await startService(t, { KAFKA_TOPIC: topic, MONGO_URL: databaseUrl(early.namespace) })
  t.equal((await collected.forOrders([order._id, otherOrder._id])).length, 2)
})

t.test('the topics are created as they have to be', async (t) => {
  const service = await startService(t, { KAFKA_TOPIC_PARTITIONS: 4 })
  await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
  const checkpointTopic = checkpointTopicOf(service.namespace)
  const admin = kafka.admin()
  await admin.connect()
  t.teardown(() => admin.disconnect())
  const { topics } = await admin.fetchTopicMetadata({ topics: [service.namespace, checkpointTopic] })
  t.strictSame(topics.map(({ name, partitions }) => [name, partitions.length]).sort(), [
    [service.namespace, 4],
    [checkpointTopic, 1]
  ])
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: 2, name: checkpointTopic, configNames: ['cleanup.policy'] }]
  })
  t.equal(resources[0]!.configEntries[0]!.configValue, 'compact')
})

t.test('an idle relay moves its token on, so that it does not age out of the oplog', async (t) => {
  const { token, later } = await idleTokens(t)
  t.not(token, undefined)
  t.not(token, later)
})

/** The tokens of two checkpoints in a row of a relay that has nothing to publish. */
async function idleTokens (t: Test): Promise<{ token: unknown, later: unknown }> {
  const namespace = newNamespace()
  const client = await connectMongo(t, parts.mongoUrl)
  const db = client.db(namespace)
  await db.createCollection('orders')
  const { operationTime } = await db.command({ ping: 1 }) as { operationTime: Timestamp }
  const log = { debug () {}, info () {}, warn () {}, error () {} }
  const lease = createLease({ collection: db.collection<LeaseDocument>('relay'), name: 'lease', owner: 'test', log })
  const relay = createRelay({
    db,
    collection: db.collection('orders'),
    kafka,
    openProducer: (options) => openOrderEventsProducer({ kafka, topic: namespace, ...options }),
    topic: { topic: namespace, partitions: 1, replicationFactor: 1 },
    lease,
    held: createHeldOrders({ collection: db.collection<HeldDocument>('relay'), topic: namespace }),
    source: 'test',
    keepOrigin: async () => {},
    origin: operationTime,
    log,
    observe: { leader () {}, started () {}, published () {}, reconciled () {}, unknowable () {}, oversized () {} },
    idleCheckpointMs: 500
  })
  relay.start()
  t.teardown(() => relay.stop())
  const token = JSON.stringify((await eventually(() => relay.position, 30_000, 'a checkpoint')).token)
  await db.collection('another').insertOne({}) // something moves in the oplog
  const later = await eventually(() => {
    const now = JSON.stringify(relay.position?.token)
    return now !== token && now
  }, 10_000, 'another checkpoint')
  await relay.stop()
  const [{ high }] = await topicOffsets(checkpointTopicOf(namespace))
  t.ok(
    (await readCheckpoint(kafka, relayNames(namespace, namespace, 'test'), Number(high)))?.token,
    'the checkpoint is on its topic'
  )
  return { token, later }
}

t.test(
  'an oplog that is too small again and again is reported, without a rush of tries, and POSTs go on',
  async (t) => {
    const mongo = await startOwnPart(t, 'mongo')
    const client = await connectMongo(t, mongo.url)
    const namespace = newNamespace()
    const service = await forkService(t, { MONGO_URL: databaseUrl(namespace, mongo.url) }, namespace)
    await eventually(() => leads(service), 30_000, 'a leader')
    await failCommand(
      t,
      client,
      ['getMore'],
      { errorCode: 286, errorLabels: ['NonResumableChangeStreamError'], namespace: `${namespace}.orders` },
      'alwaysOn'
    )
    await eventually(
      () => service.log.some(({ reason }) => /oplog does not hold the relay's checkpoint/.test(reason ?? '')),
      30_000,
      'a log line'
    )
    t.equal((await post(service.url)).status, 201)

    const starts = (): number => service.log.filter(({ msg }) => msg === 'the relay leads').length
    t.ok(starts() < 8, `${starts()} tries until it was told`)
    t.ok(
      service.log.filter(({ level, msg }) => level >= 40 && /relay/.test(msg)).length <= 2,
      'one line says so, not one for each try'
    )
    await client.db('admin').command({ configureFailPoint: 'failCommand', mode: 'off' })
    const collected = await collectEvents(t, namespace)
    await eventually(() => leads(service), 30_000, 'a leader')
    t.equal((await collected.forOrders([(await post(service.url)).body._id])).length, 2)
  }
)

async function topicOffsets (topic: string) {
  const admin = kafka.admin()
  await admin.connect()
  const offsets = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  return offsets as [typeof offsets[number], ...typeof offsets]
}
