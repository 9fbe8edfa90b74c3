import { setInterval as every } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import { ObjectId, type Collection, type Db, type Timestamp } from 'mongodb'
import t, { type Test } from 'tap'
import { createLease, type LeaseDocument } from '../src/lease.ts'
import { toDocument, type OrderDocument } from '../src/models.ts'
import { createRelays, type RelaysOptions } from '../src/relays.ts'
import { relayNames } from '../src/relay-topics.ts'
import { assertExactlyOnce, connectMongo, forkService, startPosting, storedIds } from './faults.ts'
import { aNewOrder, collectEvents, eventually, metric, newNamespace, parts, startService } from './helper.ts'

/* The number of shards changes. */

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
  let stopped = false
  t.teardown(() => { stopped = true })
  const done = (async () => {
    for await (const _tick of every(10)) {
      if (stopped) return
      const documents = Array.from({ length: 5 }, () => toDocument(aNewOrder, TRACEPARENT))
      await orders.insertMany(documents)
      ids.push(...documents.map(({ _id }) => _id.toHexString()))
    }
  })()
  return {
    ids,
    async stop (): Promise<string[]> {
      stopped = true
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

t.test('1 -> 3 -> 2 -> 1: a process of another setting waits until the others have ended', async (t) => {
  const namespace = newNamespace()
  const front = await startService(t, { KAFKA_BROKERS: 'off' }, namespace)
  const leading = (shards: number, service: { operationsUrl: string }) => eventually(async () => await metric(service, 'relay_leader') === shards, 60_000, `${shards} leaders`)
  let service = await forkService(t, { RELAY_SHARDS: 1 }, namespace)
  await leading(1, service)
  const collected = await collectEvents(t, namespace)
  const posting = startPosting(t, () => front.url, 4)
  let before = 1
  for (const shards of [3, 2, 1]) {
    const next = await forkService(t, { RELAY_SHARDS: shards }, namespace)
    await eventually(() => next.log.some(({ msg }) => msg.startsWith('the relay waits')), 30_000, 'a line that says so')
    const events = collected.events.length
    await eventually(() => collected.events.length > events + 50, 30_000, 'events of the present leader')
    t.strictSame([await metric(next, 'relay_leader'), await metric(next, 'relay_shards'), await metric(service, 'relay_leader')], [0, before, before])
    if (shards === 2) await service.kill()
    else {
      service.signal('SIGTERM')
      await service.exit
    }
    await leading(shards, next)
    t.equal(next.log.filter(({ msg }) => msg.startsWith('the relay waits')).length, 1)
    service = next
    before = shards
  }
  const ids = storedIds(await posting.stop())
  await assertExactlyOnce(t, { client: await connectMongo(t, parts.mongoUrl), namespace, ids, collected, url: front.url })
})

t.test('a leader of the old setting that wakes up after the change is fenced and waits', async (t) => {
  const namespace = newNamespace()
  const front = await startService(t, { KAFKA_BROKERS: 'off' }, namespace)
  const zombie = await forkService(t, { RELAY_SHARDS: 1 }, namespace)
  await eventually(async () => await metric(zombie, 'relay_leader') === 1, 60_000, 'a leader')
  const collected = await collectEvents(t, namespace)
  const posting = startPosting(t, () => front.url, 4)
  await eventually(() => collected.events.length > 100)
  zombie.signal('SIGSTOP') // most likely with a transaction in flight
  const heir = await forkService(t, { RELAY_SHARDS: 3 }, namespace)
  await eventually(async () => await metric(heir, 'relay_leader') === 3, 60_000, 'leaders')
  const before = collected.events.length
  await eventually(() => collected.events.length > before + 100, 30_000, 'events of the new leaders')
  zombie.signal('SIGCONT')
  await eventually(() => zombie.log.some(({ msg }) => msg.startsWith('the relay waits')), 60_000, 'it waits')
  const later = collected.events.length
  await eventually(() => collected.events.length > later + 100, 30_000, 'more events')
  t.strictSame([await metric(zombie, 'relay_leader'), await metric(heir, 'relay_leader')], [0, 3])
  const ids = storedIds(await posting.stop())
  await assertExactlyOnce(t, { client: await connectMongo(t, parts.mongoUrl), namespace, ids, collected, url: front.url })
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
