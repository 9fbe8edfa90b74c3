import { setTimeout as delay } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import { ObjectId, type Collection, type Db, type Timestamp } from 'mongodb'
import t, { type Test } from 'tap'
import { createLease, type LeaseDocument } from '../src/lease.ts'
import { toDocument, type OrderDocument } from '../src/models.ts'
import { createRelays, type RelaysOptions } from '../src/relays.ts'
import { openOrderEventsProducer } from '../src/kafka.ts'
import { layoutMessage } from '../src/layout.ts'
import { fenceMarker, layoutNames, relayNames } from '../src/relay-topics.ts'
import { connectMongo } from './faults.ts'
import { aNewOrder, collectEvents, eventually, newNamespace, parts } from './helper.ts'

/* The number of shards changes. The relays are without a service around them, so that they may share what the test wants them to share. */

const kafka = new Kafka({ brokers: parts.kafkaBrokers.split(','), logLevel: logLevel.NOTHING, retry: { initialRetryTime: 5, retries: 20 } })
const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

interface Setting { namespace: string, db: Db, orders: Collection<OrderDocument>, origin: Timestamp }

async function newSetting (t: Test): Promise<Setting> {
  const namespace = newNamespace()
  const db = (await connectMongo(t, parts.mongoUrl)).db(namespace)
  const orders = await db.createCollection<OrderDocument>('orders')
  const { operationTime: origin } = await db.command({ ping: 1 }) as { operationTime: Timestamp }
  return { namespace, db, orders, origin }
}

/** @param leases of whom it shares none with, only Kafka keeps it apart */
function startRelays (t: Test, { namespace, db, orders, origin }: Setting, shards: number, leases = 'relay', options: Partial<RelaysOptions> = {}) {
  const counts = { found: 0, sent: 0, skipped: 0 }
  const owner = new ObjectId().toHexString()
  const collection = db.collection<LeaseDocument>(leases)
  const lines: string[] = []
  const log = (...args: unknown[]): void => { lines.push(args.map((arg) => typeof arg === 'string' ? arg : JSON.stringify(arg)).join(' ')) }
  const relays = createRelays({
    db,
    collection: orders,
    kafka,
    topic: { topic: namespace, partitions: 3, replicationFactor: 1 },
    shards,
    leases: collection,
    leaseOf: (name) => createLease({ collection, name, owner }),
    origin,
    log: { debug () {}, info: log, warn: log, error: log },
    observe: { leader () {}, published () {}, unknowable () {}, reconciled (result, orders) { counts[result] += orders } },
    givenUpMs: 0,
    ...options
  })
  relays.start()
  t.teardown(() => relays.stop())
  return { relays, counts, lines, allLed: () => eventually(() => relays.led === shards, 60_000, `${shards} leaders`) }
}

/** Inserts orders all the time, a few at once. */
function startInserting (t: Test, orders: Collection<OrderDocument>) {
  const ids: string[] = []
  const stopping = new AbortController()
  t.teardown(() => stopping.abort())
  const done = (async () => {
    while (!stopping.signal.aborted) {
      await delay(10)
      const documents = Array.from({ length: 5 }, () => toDocument(aNewOrder, TRACEPARENT))
      await orders.insertMany(documents)
      ids.push(...documents.map(({ _id }) => _id.toHexString()))
    }
  })()
  return {
    ids,
    async stop (): Promise<string[]> {
      stopping.abort()
      await done
      return ids
    }
  }
}

/** Each order once, and those that come last behind all others in each partition. */
async function assertOnce (t: Test, { orders }: Setting, ids: string[], collected: Awaited<ReturnType<typeof collectEvents>>): Promise<void> {
  await collected.forOrders(ids, 60_000)
  const last = Array.from({ length: 60 }, () => toDocument(aNewOrder, TRACEPARENT))
  await orders.insertMany(last)
  const all = [...ids, ...last.map(({ _id }) => _id.toHexString())]
  const told = (await collected.forOrders(all, 60_000)).map(({ event }) => event.orderId)
  t.equal(new Set(told).size, told.length, 'no event came twice')
  t.strictSame([...new Set(told)].sort(), all.sort(), 'no event is missing or came without its order')
}

t.test('relays of three settings that only Kafka keeps apart take the shards from each other under load, and each order is told once', async (t) => {
  const setting = await newSetting(t)
  const one = startRelays(t, setting, 1, 'relay1')
  await one.allLed()
  const collected = await collectEvents(t, setting.namespace)
  const inserting = startInserting(t, setting.orders)
  const all = [one, startRelays(t, setting, 3, 'relay3'), startRelays(t, setting, 2, 'relay2')]
  const changes = (): number => all.flatMap(({ lines }) => lines).filter((line) => /another number of shards/.test(line)).length
  await eventually(() => changes() >= 6 && collected.events.length > 500, 90_000, 'many changes')
  await Promise.all([all[0]!, all[1]!].map(({ relays }) => relays.stop()))
  await all[2]!.allLed()
  await assertOnce(t, setting, await inserting.stop(), collected)
  t.comment(`${changes()} changes, ${collected.events.length} events`)
  t.strictSame(all.map(({ counts }) => counts.found + counts.sent), [0, 0, 0], 'and nothing had to be compared with the topic')
})

for (const [before, after] of [[3, 3], [3, 2], [1, 2]] as const) {
  t.test(`when the topic of the checkpoints is lost, each shard compares its own orders (${before} -> ${after})`, async (t) => {
    const setting = await newSetting(t)
    const first = startRelays(t, setting, before)
    await first.allLed()
    const insert = async (count: number): Promise<string[]> => {
      const documents = Array.from({ length: count }, () => toDocument(aNewOrder, TRACEPARENT))
      await setting.orders.insertMany(documents)
      return documents.map(({ _id }) => _id.toHexString())
    }
    const told = await insert(60)
    const collected = await collectEvents(t, setting.namespace)
    await collected.forOrders(told)
    await first.relays.stop()
    const admin = kafka.admin()
    await admin.connect()
    const topic = relayNames(setting.namespace, setting.namespace).checkpointTopic
    await admin.deleteTopics({ topics: [topic] })
    await eventually(async () => !(await admin.listTopics()).includes(topic), 20_000, 'a topic that is gone')
    await admin.disconnect()
    const untold = await insert(30)
    const second = startRelays(t, setting, after)
    await second.allLed()
    t.match(second.counts, { found: 60, sent: 30, skipped: 0 })
    await assertOnce(t, setting, [...told, ...untold], collected)
  })
}

for (const published of [0, 20]) {
  t.test(`who finds that somebody died while changing the layout goes on, or takes it back (${published} orders published before)`, async (t) => {
    const setting = await newSetting(t)
    const orders = Array.from({ length: published + 20 }, () => toDocument(aNewOrder, TRACEPARENT))
    const first = startRelays(t, setting, 1)
    await first.allLed()
    const collected = await collectEvents(t, setting.namespace)
    if (published > 0) await setting.orders.insertMany(orders.slice(0, published))
    await collected.forOrders(orders.slice(0, published).map(({ _id }) => _id.toHexString()))
    await first.relays.stop()
    await setting.orders.insertMany(orders.slice(published))

    const names = layoutNames(setting.namespace, setting.namespace)
    const producer = await openOrderEventsProducer({ kafka, ...names, topic: setting.namespace, partitions: 1, marker: fenceMarker(names) })
    await producer.publish([], layoutMessage(names, { shards: 1, generation: 1, changingTo: 3, first: true }))
    await producer.close()

    const keeping = startRelays(t, setting, 1)
    await keeping.allLed()
    await keeping.relays.stop()
    await startRelays(t, setting, 2).allLed()
    await assertOnce(t, setting, orders.map(({ _id }) => _id.toHexString()), collected)
  })
}
