import t, { type Test } from 'tap'
import { Long, MongoClient, ObjectId, type Collection, type Document } from 'mongodb'
import { collectEvents, eventually, newNamespace, parts, post, request, startService } from '../helper.ts'

const namespace = newNamespace()
const id = new ObjectId('5f0000000000000000000001')
const time = '2020-07-04T04:05:20.000Z'

/** The documents of an older service, with their form on the wire; those without an ObjectId have none. */
const OLDER: [stored: Document, shown?: object][] = [
  [{ _id: id }, { _id: String(id), userId: '', products: [], createdAt: time, updatedAt: time }],
  [
    {
      _id: new ObjectId('5f0000000000000000000002'),
      userId: id,
      products: [{ _id: id, quantity: '3', price: 9.5 }],
      status: 'paid',
      __v: 0,
      createdAt: new Date(time)
    },
    {
      _id: '5f0000000000000000000002',
      userId: String(id),
      products: [{ _id: String(id), quantity: 3 }],
      createdAt: time,
      updatedAt: time
    }
  ],
  [
    {
      _id: new ObjectId('5f0000000000000000000003'),
      products: null,
      total: Long.MAX_VALUE,
      createdAt: 'once upon a time'
    },
    { _id: '5f0000000000000000000003', userId: '', products: [], createdAt: time, updatedAt: time }
  ],
  [{ _id: 'order-1', userId: 'user-1', products: [] }],
  [{ _id: 7 }],
  [{ _id: { shop: 1, order: 2 }, userId: 'user-1' }]
]
const shownOrders = OLDER.flatMap(([, shown]) => shown === undefined ? [] : [shown])

/** By hand, with our mark on them and still no orders of ours: nothing may hold up the events of all others. */
const STRANGE: Document[] = [
  { traceparent: 'text' },
  { userId: 'u', products: [], createdAt: new Date(), traceparent: 'no updatedAt' },
  { userId: 'u', products: [null], createdAt: new Date(), updatedAt: new Date(), traceparent: 'no line' },
  { userId: 'u', products: [{}], createdAt: new Date(), updatedAt: new Date(), traceparent: 'an empty line' },
  {
    userId: 'u',
    products: [{ _id: 'p', quantity: 'many' }],
    createdAt: new Date(),
    updatedAt: new Date(),
    traceparent: 'no quantity'
  },
  {
    _id: 'order-2',
    userId: 'u',
    products: [{ _id: 'p', quantity: 1 }],
    createdAt: new Date(),
    updatedAt: new Date(),
    traceparent: 'no ObjectId'
  }
]

const client = new MongoClient(parts.mongoUrl)
t.teardown(() => client.close())
const collection: Collection<Document> = client.db(namespace).collection('orders')
await collection.insertMany(OLDER.map(([stored]) => stored))

const service = await startService(t, { KAFKA_TOPIC_PARTITIONS: 1, CACHE_BYTES_MAX: 0 }, namespace)

async function isServed (t: Test, orders: object[]): Promise<void> {
  t.equal((await request(service.url)).text, JSON.stringify(orders), 'in the list')
  for (const order of orders as { _id: string }[]) {
    t.equal((await request(`${service.url}/${order._id}`)).text, JSON.stringify(order), `by the id ${order._id}`)
  }
}

t.test('orders that an older service left are listed and found', async (t) => {
  await isServed(t, shownOrders)
  await eventually(() => service.api.redisTier?.usable, 10_000, 'a usable Redis')
  await isServed(t, shownOrders)
  await isServed(t, shownOrders)
  for (const other of ['order-1', '7']) {
    t.equal((await request(`${service.url}/${other}`)).status, 400, 'other ids are no ids of ours')
  }
})

t.test('orders that an older service still writes, changes and deletes are served like those', async (t) => {
  await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
  const added = {
    _id: '6f0000000000000000000001',
    userId: 'user-9',
    products: [],
    createdAt: '2029-01-04T05:06:07.000Z',
    updatedAt: '2029-01-04T05:06:07.000Z'
  }
  await collection.insertMany([
    {
      _id: new ObjectId(added._id),
      userId: added.userId,
      createdAt: new Date(added.createdAt),
      updatedAt: new Date(added.updatedAt)
    },
    { _id: 'order-3' }
  ] as Document[])
  await isServed(t, [...shownOrders, added])
  await collection.updateOne({ _id: 'order-3' as never }, { $set: { a: 1 } })
  await collection.deleteOne({ _id: 'order-1' as never })
  await collection.deleteOne({ _id: new ObjectId(added._id) })
  await eventually(async () => (await request(`${service.url}/${added._id}`)).status === 404, 5_000, 'the deletion')
  await isServed(t, shownOrders)
})

t.test('none of them is published, and none holds up the orders that are', async (t) => {
  await collection.insertMany(STRANGE)
  const { body: order } = await post(service.url)
  const collected = await collectEvents(t, namespace)
  const events = await collected.forOrders([order._id])
  t.strictSame(events.map(({ event }) => event.orderId), [order._id])
  t.equal((await request(service.url)).status, 200)
})
