import { ObjectId, type Document } from 'mongodb'
import t, { type Test } from 'tap'
import { eventCounts } from '../../support/faults.ts'
import { collectEvents, eventually, newNamespace, post, startService, type RunningService } from '../../helper.ts'
import { ordersOf } from '../../support/relays.ts'

/* Whoever restores a dump inserts orders that had their event long ago. */

type Collected = Awaited<ReturnType<typeof collectEvents>>

const NOWHERE = '127.0.0.1:9'

async function startLeader (t: Test, namespace = newNamespace()): Promise<RunningService> {
  const service = await startService(t, {}, namespace)
  await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
  return service
}

async function postMany ({ url }: { url: string }, count: number): Promise<string[]> {
  return await Promise.all(Array.from({ length: count }, async () => (await post(url)).body._id))
}

/** A leader, its published orders as MongoDB holds them, and a collector of all events. */
async function publishedOrders (t: Test, count: number) {
  const service = await startLeader(t)
  const collected = await collectEvents(t, service.namespace)
  const ids = await postMany(service, count)
  await collected.forOrders(ids)
  const documents = await service.db.collection('orders').find().toArray()
  return { service, collected, ids, documents }
}

async function restart (t: Test, service: RunningService): Promise<RunningService> {
  await service.close()
  return await startLeader(t, service.namespace)
}

/** Each of these orders has had one event, and nothing else has. */
async function toldOnce (t: Test, collected: Collected, service: RunningService, ids: string[]): Promise<void> {
  const counts = await eventCounts(collected, service.url)
  t.strictSame([...counts].sort(), ids.map((id) => [id, 1]).sort())
}

const orders = ({ db }: RunningService) => db.collection<Document>('orders')

t.test('a collection that is dropped and put back under a running service is not published again', async (t) => {
  const { service, collected, ids, documents } = await publishedOrders(t, 20)
  await orders(service).drop()
  await orders(service).insertMany(documents)
  await toldOnce(t, collected, service, [...ids, ...await postMany(service, 3)])
  t.equal(service.api.relay?.leads, true)
})

t.test('nor with the service down meanwhile', async (t) => {
  const { service, collected, ids, documents } = await publishedOrders(t, 20)
  await service.close()
  const away = await startService(t, { KAFKA_BROKERS: 'off' }, service.namespace)
  await orders(away).drop()
  await orders(away).insertMany(documents)
  await away.close()
  await toldOnce(t, collected, await startLeader(t, service.namespace), ids)
})

t.test('nor with a restart between drop and insert', async (t) => {
  const { service, collected, ids, documents } = await publishedOrders(t, 20)
  await orders(service).drop()
  await postMany(service, 1).then(([id]) => ids.push(id!)) // its checkpoint lies after the drop
  await collected.forOrders(ids)
  const next = await restart(t, service)
  await orders(next).insertMany(documents)
  await toldOnce(t, collected, next, ids)
})

t.test('an order that is fixed by delete and insert is not published again, not even twice in a row', async (t) => {
  const { service, collected, ids } = await publishedOrders(t, 1)
  const [fixed] = await postMany(service, 1)
  const _id = new ObjectId(fixed)
  for (let times = 0; times < 2; times++) {
    const document = await orders(service).findOneAndDelete({ _id })
    await orders(service).insertOne({ ...document!, userId: `fixed-${times}` })
  }
  await toldOnce(t, collected, service, [...ids, fixed!])
})

t.test('nor with a restart between delete and insert', async (t) => {
  const { service, collected, ids } = await publishedOrders(t, 3)
  const document = await orders(service).findOneAndDelete({ _id: new ObjectId(ids[0]) })
  await postMany(service, 1).then(([id]) => ids.push(id!))
  await collected.forOrders(ids)
  const next = await restart(t, service)
  await orders(next).insertOne(document!)
  await toldOnce(t, collected, next, ids)
})

t.test('300 young orders that are deleted and put back are not published again', async (t) => {
  const { service, collected, ids, documents } = await publishedOrders(t, 300)
  await orders(service).deleteMany({})
  await orders(service).insertMany(documents)
  await toldOnce(t, collected, service, [...ids, ...await postMany(service, 3)])
})

t.test('a restored collection that is renamed into place publishes nothing', async (t) => {
  const { service, collected, ids, documents } = await publishedOrders(t, 10)
  const restored = service.db.collection('restored')
  await restored.insertMany([...documents, ...ordersOf(5)])
  await restored.rename('orders', { dropTarget: true })
  await toldOnce(t, collected, service, [...ids, ...await postMany(service, 3)])
})

t.test(
  'an order that was inserted, deleted and inserted before Kafka was ever reachable is published once',
  async (t) => {
    const namespace = newNamespace()
    const away = await startService(t, { KAFKA_BROKERS: NOWHERE }, namespace)
    const ids = await postMany(away, 5)
    for (const id of ids.slice(0, 2)) {
      const document = await orders(away).findOneAndDelete({ _id: new ObjectId(id) })
      await orders(away).insertOne(document!)
    }
    await away.close()
    const service = await startLeader(t, namespace)
    await toldOnce(t, await collectEvents(t, namespace), service, ids)
  }
)

t.test('the database dropped while Kafka is away, then orders and a restart: those are published once', async (t) => {
  const { service, collected, ids } = await publishedOrders(t, 3)
  await service.close()
  const away = await startService(t, { KAFKA_BROKERS: NOWHERE }, service.namespace)
  await away.db.dropDatabase()
  const relay = away.db.collection<{ _id: string }>('relay')
  await eventually(() => relay.findOne({ _id: `origin:${service.namespace}` }), 20_000, 'the origin, put back')
  ids.push(...await postMany(away, 5))
  await away.close()
  await toldOnce(t, collected, await startLeader(t, service.namespace), ids)
})
