import { cp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { MongoClient } from 'mongodb'
import t, { type Test } from 'tap'
import type { Settings } from '../../schemas/settings.ts'
import { msOf } from '../../src/encoding/order-id.ts'
import {
  assertExactlyOnce, connectMongo, eventCounts, failCommand, forkService, leads, startOwnPart
} from '../support/faults.ts'
import {
  collectEvents, databaseUrl, eventually, metric, newNamespace, post, startService, type RunningService
} from '../helper.ts'
import { HOUR_MS, insert, newSetting, ordersOf, startRelay } from '../support/relays.ts'

/** What is promised for new orders, whatever became of the oplog. */
const NEW_ORDERS_MS_MAX = 60_000
const NOWHERE = '127.0.0.1:9'

async function postMany (service: { url: string }, count: number): Promise<string[]> {
  return await Promise.all(Array.from({ length: count }, async () => (await post(service.url)).body._id))
}

async function leader (t: Test, settings: Partial<Settings>, namespace: string): Promise<RunningService> {
  const service = await startService(t, settings, namespace)
  await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
  return service
}

const LOST = [
  ['280 to getMore', 'getMore', 280],
  ['280 to aggregate', 'aggregate', 280],
  ['an unknown error with the label to getMore', 'getMore', 9_999]
] as const

for (const [what, command, errorCode] of LOST) {
  t.test(`when MongoDB answers ${what}, what is missing is published, and new orders follow`, async (t) => {
    const mongo = await startOwnPart(t, 'mongo')
    const client = await connectMongo(t, mongo.url)
    const namespace = newNamespace()
    const settings = { MONGO_URL: databaseUrl(namespace, mongo.url) }
    const first = await leader(t, settings, namespace)
    const told = await postMany(first, 10)
    const collected = await collectEvents(t, namespace)
    await collected.forOrders(told)
    await first.close()
    const away = await startService(t, { ...settings, KAFKA_BROKERS: NOWHERE }, namespace)
    const untold = await postMany(away, 5)
    await away.close()

    const data = { errorCode, errorLabels: ['NonResumableChangeStreamError'], namespace: `${namespace}.orders` }
    await failCommand(t, client, [command], data, 'alwaysOn')
    const service = await startService(t, settings, namespace)
    await eventually(() => metric(service, 'relay_reconciled_orders_total{result="found"}'), 30_000, 'a comparison')
    await client.db('admin').command({ configureFailPoint: 'failCommand', mode: 'off' })
    const later = await postMany(service, 3)
    await collected.forOrders([...untold, ...later], NEW_ORDERS_MS_MAX)
    await assertExactlyOnce(t, { client, namespace, ids: [...told, ...untold, ...later], collected, url: service.url })
  })
}

t.test('when MongoDB is put back to before the checkpoint, new orders are published, and nothing twice', async (t) => {
  const mongo = await startOwnPart(t, 'mongo')
  const namespace = newNamespace()
  const settings = { MONGO_URL: databaseUrl(namespace, mongo.url) }
  const first = await leader(t, settings, namespace)
  const kept = await postMany(first, 5)
  const collected = await collectEvents(t, namespace)
  await collected.forOrders(kept)
  await first.close()
  const dbPath = await dataFolder(await connectMongo(t, mongo.url))
  await mongo.stop()
  const copy = join(dbPath, '..', 'copy')
  await cp(dbPath, copy, { recursive: true })
  await mongo.start()

  const second = await forkService(t, settings, namespace)
  await eventually(() => leads(second), 30_000, 'a leader')
  const lost = await postMany(second, 5)
  await collected.forOrders(lost)
  await second.kill()
  await mongo.stop()
  await rm(dbPath, { recursive: true })
  await cp(copy, dbPath, { recursive: true })
  await mongo.start()

  const third = await forkService(t, settings, namespace)
  const later = await postMany(third, 5)
  await collected.forOrders(later, NEW_ORDERS_MS_MAX)
  const counts = await eventCounts(collected, third.url)
  t.strictSame([...counts].sort(), [...kept, ...lost, ...later].map((id) => [id, 1]).sort())
  const lines = third.log.filter(({ msg }) => /of which this MongoDB knows nothing: MongoDB was put back/.test(msg))
  t.equal(lines.length, 1)
})

async function dataFolder (client: MongoClient): Promise<string> {
  return (await client.db('admin').command({ getCmdLineOpts: 1 })).parsed.storage.dbPath
}

/** A relay that has published orders and compares them with the topic when it starts again. */
async function toCompare (t: Test) {
  const setting = await newSetting(t)
  const first = startRelay(t, setting)
  await eventually(() => first.relay.leads, 30_000, 'a leader')
  const collected = await collectEvents(t, setting.namespace)
  const told = await insert(setting.orders, 5, HOUR_MS / 2)
  await collected.forOrders(told)
  await first.relay.stop()
  const { owners } = (await setting.leases.findOne({ _id: 'lease' }))!
  await setting.leases.updateOne({ _id: 'lease' }, { $unset: { owners: 1, position: 1, final: 1 } })
  return { setting, collected, told, owner: owners![0]! }
}

t.test('orders that were gone while they were compared, and are put back then, are not published again', async (t) => {
  const { setting, collected, told } = await toCompare(t)
  const documents = await setting.orders.find().toArray()
  await setting.orders.deleteMany({})
  const next = startRelay(t, setting)
  await eventually(() => next.relay.leads, 30_000, 'a leader')
  await setting.orders.insertMany(documents)
  const later = await insert(setting.orders, 30)
  await collected.forOrders(later)
  t.strictSame(collected.events.map(({ event }) => event.orderId).sort(), [...told, ...later].sort())
})

t.test('an order from the future that is compared does not hide what comes after it from the lag', async (t) => {
  const { setting, collected } = await toCompare(t)
  const [order] = ordersOf(1, -24 * HOUR_MS)
  await setting.orders.insertOne(order!)
  const next = startRelay(t, setting)
  await collected.forOrders([String(order!._id)])
  const orderId = await eventually(() => next.relay.position?.orderId, 30_000, 'a position')
  t.ok(msOf(orderId) < Date.now() + 60_000, new Date(msOf(orderId)).toISOString())
})

t.test('a checkpoint of a writer that MongoDB does not know is named, and the orders are compared', async (t) => {
  const { setting, collected, told, owner } = await toCompare(t)
  const untold = await insert(setting.orders, 5)

  const next = startRelay(t, setting)
  await eventually(() => next.relay.leads, 30_000, 'a leader')
  const [line] = next.matching(/of which this MongoDB knows nothing/)
  t.match(line, { level: 'warn', fields: { topic: setting.namespace, owner } })
  t.match(line!.msg, new RegExp(`was written by ${owner}, .* give it another KAFKA_TOPIC`))
  const later = await insert(setting.orders, 30)
  await collected.forOrders([...untold, ...later])
  t.strictSame(collected.events.map(({ event }) => event.orderId).sort(), [...told, ...untold, ...later].sort())

  await next.relay.stop()
  const last = startRelay(t, setting)
  await eventually(() => last.relay.leads, 30_000, 'a leader')
  t.equal(last.matching(/knows nothing/).length, 0, 'once: it knows the one who compared them')
})
