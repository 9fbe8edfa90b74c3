import { Kafka, logLevel } from 'kafkajs'
import t, { type Test } from 'tap'
import { toDocument } from '../../../src/models.ts'
import { checkpointTopicOf } from '../../../src/relay/checkpoint/checkpoint.ts'
import { assertExactlyOnce, connectMongo, failCommand, forkService, leads, startOwnPart } from '../../support/faults.ts'
import {
  aNewOrder,
  collectEvents,
  databaseUrl,
  eventually,
  metric,
  newNamespace,
  parts,
  post,
  startService,
  type RunningService
} from '../../helper.ts'

const kafka = new Kafka({
  brokers: parts.kafkaBrokers.split(','),
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, retries: 20 }
})
const nowhere = '127.0.0.1:9'
const admin = kafka.admin()
t.before(() => admin.connect())
t.teardown(() => admin.disconnect())

async function postMany (service: { url: string }, count: number): Promise<string[]> {
  return await Promise.all(Array.from({ length: count }, async () => (await post(service.url)).body._id))
}

/** Orders that were published, and then orders that were not; no service runs any more. */
async function publishedAndNot (t: Test, published: number, not: number, mongoUrl = parts.mongoUrl) {
  const namespace = newNamespace()
  const settings = { MONGO_URL: databaseUrl(namespace, mongoUrl) }
  const first = await startService(t, settings, namespace)
  await eventually(() => first.api.relay?.leads, 30_000, 'a leader')
  const told = await postMany(first, published)
  const early = await collectEvents(t, namespace)
  await early.forOrders(told)
  await first.close()
  await early.stop()
  const second = await startService(t, { ...settings, KAFKA_BROKERS: nowhere }, namespace)
  const untold = await postMany(second, not)
  await second.close()
  const client = await connectMongo(t, mongoUrl)
  // As if it had been killed: a relay that ended in order knows where it was.
  await client
    .db(namespace)
    .collection<{ _id: string }>('relay')
    .updateOne({ _id: `lease:${namespace}` }, { $set: { final: false } })
  return { namespace, settings, told, untold, client }
}

async function deleteTopics (...topics: string[]): Promise<void> {
  await admin.deleteTopics({ topics })
  await eventually(async () => {
    const existing = await admin.listTopics()
    return topics.every((topic) => !existing.includes(topic))
  }, 20_000, 'topics that are gone')
}

const reconciled = (service: RunningService, result: string) =>
  metric(service, `relay_reconciled_orders_total{result="${result}"}`)
const unknowable = (service: RunningService) => metric(service, 'relay_unknowable_orders')

t.test('when the oplog no longer reaches back, exactly what is missing is sent, and new orders follow', async (t) => {
  const mongo = await startOwnPart(t, 'mongo')
  const { namespace, settings, told, untold, client } = await publishedAndNot(t, 10, 5, mongo.url)
  await failCommand(
    t,
    client,
    ['aggregate'],
    { errorCode: 286, errorLabels: ['NonResumableChangeStreamError'], namespace: `${namespace}.orders` },
    'alwaysOn'
  )
  const service = await startService(t, settings, namespace)
  await eventually(() => reconciled(service, 'found'), 30_000, 'a reconciliation')
  await client.db('admin').command({ configureFailPoint: 'failCommand', mode: 'off' })
  await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
  t.equal(await reconciled(service, 'sent'), 5)
  const collected = await collectEvents(t, namespace)
  await assertExactlyOnce(t, { client, namespace, ids: [...told, ...untold], collected, url: service.url })
})

t.test(
  'when the topic of the checkpoint is gone, exactly what is missing is sent, and new orders follow',
  async (t) => {
    const { namespace, settings, told, untold, client } = await publishedAndNot(t, 10, 5)
    await deleteTopics(checkpointTopicOf(namespace))
    const service = await startService(t, settings, namespace)
    await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
    t.strictSame([await reconciled(service, 'found'), await reconciled(service, 'sent')], [10, 5])
    const collected = await collectEvents(t, namespace)
    await assertExactlyOnce(t, { client, namespace, ids: [...told, ...untold], collected, url: service.url })
  }
)

t.test('when the events are gone too, the relay waits for a choice, while orders are taken', async (t) => {
  const { namespace, settings, untold, told } = await publishedAndNot(t, 10, 5)
  await deleteTopics(checkpointTopicOf(namespace), namespace)
  const waiting = await startService(t, settings, namespace)
  t.equal(await eventually(() => unknowable(waiting), 30_000, 'orders that are told to be unknowable'), 15)
  const { status, body: { _id: meanwhile } } = await post(waiting.url)
  t.equal(status, 201)
  t.equal(waiting.api.relay?.leads, false)
  const collected = await collectEvents(t, namespace)
  await waiting.close()

  const sending = await startService(t, { ...settings, RELAY_UNKNOWABLE: 'send' }, namespace)
  await eventually(() => sending.api.relay?.leads, 30_000, 'a leader')
  const [after] = await postMany(sending, 1)
  const events = await collected.forOrders([...told, ...untold, meanwhile, after!])
  t.equal(events.length, 17)
  t.equal(await unknowable(sending), 0)
})

t.test('what retention removed is not sent again: skip leaves it out', async (t) => {
  // So many that each partition has had some of them: of one that never held any it is known that nothing was removed.
  const { namespace, settings } = await publishedAndNot(t, 40, 5)
  await deleteTopics(checkpointTopicOf(namespace))
  const offsets = await admin.fetchTopicOffsets(namespace)
  await admin.deleteTopicRecords({
    topic: namespace,
    partitions: offsets.map(({ partition, high }) => ({ partition, offset: high }))
  })
  const waiting = await startService(t, settings, namespace)
  t.equal(await eventually(() => unknowable(waiting), 30_000, 'orders that are told to be unknowable'), 45)
  await waiting.close()

  const skipping = await startService(t, { ...settings, RELAY_UNKNOWABLE: 'skip' }, namespace)
  await eventually(() => skipping.api.relay?.leads, 30_000, 'a leader')
  t.equal(await reconciled(skipping, 'skipped'), 45)
  const after = await postMany(skipping, 30)
  const collected = await collectEvents(t, namespace)
  t.equal((await collected.forOrders(after)).length, 30)
})

t.test('a service killed in the middle of a reconciliation loses no order and publishes none twice', async (t) => {
  const { namespace, settings, told, untold, client } = await publishedAndNot(t, 10, 5)
  const many = Array.from({ length: 20_000 }, () =>
    toDocument(aNewOrder, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01')
  )
  await client.db(namespace).collection<{ _id: unknown }>('orders').insertMany(many)
  await deleteTopics(checkpointTopicOf(namespace))
  const collected = await collectEvents(t, namespace)
  const killed = await forkService(t, settings, namespace)
  await eventually(() => collected.events.length > 2_000, 30_000, 'some of the events')
  await killed.kill()
  t.ok(collected.events.length < 20_000, `it was killed after ${collected.events.length} events`)
  const service = await forkService(t, settings, namespace)
  await eventually(() => leads(service), 40_000, 'a leader')
  await assertExactlyOnce(t, {
    client,
    namespace,
    ids: [...told, ...untold, ...many.map(({ _id }) => _id.toHexString())],
    collected,
    url: service.url
  })
})
