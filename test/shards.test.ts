import { ObjectId, type Document } from 'mongodb'
import t from 'tap'
import type { ChangeStreamReader } from '../src/change-stream.ts'
import { objectOf } from '../src/event-encoding.ts'
import { endOf, handOver, publishedUntilMs, wasPublished } from '../src/handover.ts'
import { toDocument } from '../src/models.ts'
import { openOrderStream } from '../src/order-stream.ts'
import type { Checkpoint } from '../src/relay-topics.ts'
import { inShard, shardOf, shardsOf } from '../src/shards.ts'
import { connectMongo } from './faults.ts'
import { aNewOrder, eventually, newNamespace, parts } from './helper.ts'

const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
const anOrder = (): Document => toDocument(aNewOrder, TRACEPARENT)

/** An order of one shard. */
function orderOf (shard: number, shards: number): Document {
  for (;;) {
    const order = anOrder()
    if (shardOf(String(order._id), shards) === shard) return order
  }
}

async function ordersOf (t: Parameters<typeof connectMongo>[0]) {
  const db = (await connectMongo(t, parts.mongoUrl)).db(newNamespace())
  const orders = await db.createCollection('orders')
  const { operationTime } = await db.command({ ping: 1 })
  const start = { operationTime: { t: operationTime.getHighBits(), i: operationTime.getLowBits() }, at: '' }
  const streamOf = async (index: number, of: number): Promise<ChangeStreamReader<Buffer>> => {
    const stream = await openOrderStream(db, 'orders', start, 1_000, { index, of })
    t.teardown(() => stream.close())
    return stream
  }
  return { orders, streamOf }
}

t.test('MongoDB finds the same shard for an order as this service, and each order belongs to one', async (t) => {
  const { orders, streamOf } = await ordersOf(t)
  const ids = Array.from({ length: 1_000 }, () => new ObjectId())
  await orders.insertMany(ids.map((_id) => ({ ...anOrder(), _id })))
  for (const of of [2, 3, 64]) {
    for (const shard of shardsOf(of)) {
      const expected = ids.map(String).filter((id) => shardOf(id, of) === shard.index)
      t.strictSame((await orders.find(inShard('$_id', shard)).toArray()).map(({ _id }) => String(_id)), expected)
      if (of > 3) continue
      const stream = await streamOf(shard.index, of)
      const streamed: string[] = []
      await eventually(async () => {
        for (const event of (await stream.next(100)).events) streamed.push(String(objectOf(event).fullDocument._id))
        return streamed.length >= expected.length
      })
      t.strictSame(streamed, expected)
    }
  }
})

t.test('what has no ObjectId falls to the first shard and breaks no stream', async (t) => {
  const { orders, streamOf } = await ordersOf(t)
  for (const _id of ['ab', { a: 1 }, 7]) await orders.insertOne({ ...anOrder(), _id } as Document)
  const last = orderOf(1, 2)
  await orders.insertOne(last)
  const [first, second] = [await streamOf(0, 2), await streamOf(1, 2)]
  t.equal((await eventually(async () => (await first.next(100)).events, 10_000)).length, 3)
  t.strictSame((await eventually(async () => (await second.next(100)).events, 10_000)).map((event) => objectOf(event).fullDocument._id), [last._id])
})

t.test('a shard\'s token moves on while only others get orders', async (t) => {
  const { orders, streamOf } = await ordersOf(t)
  const stream = await streamOf(0, 3)
  let { token } = await stream.next(10)
  for (let i = 0; i < 3; i++) {
    await orders.insertOne(orderOf(1, 3))
    const later = await eventually(async () => {
      const batch = await stream.next(50)
      t.strictSame(batch.events, [])
      return batch.token._data > token._data ? batch.token : undefined
    })
    token = later
  }
})

t.test('tokens of events ascend as strings, and a place between two of them leaves out just those before it', async (t) => {
  const { orders, streamOf } = await ordersOf(t)
  await orders.insertMany(Array.from({ length: 100 }, anOrder))
  const stream = await streamOf(0, 1)
  const events: Document[] = []
  await eventually(async () => {
    events.push(...(await stream.next(100)).events.map(objectOf))
    return events.length === 100
  })
  const tokens = events.map(({ _id }) => String(_id._data))
  t.strictSame(tokens, [...tokens].sort())
  const until = (end: string): number => events.filter(({ _id, fullDocument }) => wasPublished(_id, String(fullDocument._id), [{ shards: 1, ends: [end] }])).length
  t.equal(until(tokens[41]!), 42)
  const time = tokens[42]!.slice(2, 18)
  t.equal(until(endOf({ operationTime: { t: Number.parseInt(time.slice(0, 8), 16), i: Number.parseInt(time.slice(8), 16) } })), 42, 'a time stands before its events')
  t.throws(() => until(`${tokens[42]!.slice(0, 18)}2BFF${tokens[42]!.slice(22)}`), { message: /another form/ })
})

const HOUR_MS = 3_600_000
const tokenAt = (seconds: number): { _data: string } => ({ _data: `82${seconds.toString(16).toUpperCase().padStart(8, '0')}000000012B0229296E04` })
const checkpointAt = (seconds: number, more: Partial<Checkpoint> = {}): Checkpoint => (
  { token: tokenAt(seconds), at: new Date(seconds * 1000).toISOString(), topic: { clusterId: 'a', since: seconds, ends: [seconds, 5] }, ...more })
const ends = (...seconds: number[]): string[] => seconds.map((one) => tokenAt(one)._data)

t.test('the new shards start where the first of the old ones ended, and know where the others did', async (t) => {
  const old = [checkpointAt(200, { orderId: 'b' }), checkpointAt(100, { orderId: 'a' })].map((checkpoint) => ({ checkpoint, exact: true }))
  const next = handOver(old, 300_000)
  t.strictSame(next, {
    operationTime: { t: 100, i: 1 }, orderId: 'b', topic: { clusterId: 'a', since: 200, movedAt: 300_000, ends: [200, 5] }, at: new Date(300_000).toISOString(), handovers: [{ shards: 2, ends: ends(200, 100) }]
  })
  t.equal(publishedUntilMs(next), 200_000)
  t.equal(wasPublished(tokenAt(150), 'x00', next.handovers!), true)
  t.equal(wasPublished(tokenAt(150), 'x01', next.handovers!), false)
})

t.test('what was known of earlier shards stays known', async (t) => {
  const earlier = { shards: 3, ends: ends(90, 400, 110) }
  const past = { shards: 2, ends: ends(90, 95) }
  const next = handOver([checkpointAt(100, { handovers: [earlier, past] }), checkpointAt(120, { handovers: [earlier] })].map((checkpoint) => ({ checkpoint, exact: true })), 0)
  t.strictSame(next.handovers, [{ shards: 2, ends: ends(100, 120) }, earlier])
})

t.test('when an old shard does not know what it published, the new ones compare all that any may have published', async (t) => {
  const copied = handOver([{ checkpoint: checkpointAt(100), exact: true }, { checkpoint: checkpointAt(120, { at: new Date(500_000).toISOString() }), exact: false }], 900_000)
  t.match(copied, { operationTime: { t: 100, i: 1 }, reconciling: { since: 900_000, topicSince: 120, notBefore: 500_000 + HOUR_MS } })
  t.equal(copied.handovers, undefined)
  const reconciling = { since: 700_000, topicSince: 120, notBefore: 800_000 + HOUR_MS }
  const resumed = handOver([checkpointAt(100, { reconciling }), checkpointAt(120)].map((checkpoint) => ({ checkpoint, exact: true })), 900_000)
  t.strictSame(resumed.reconciling, reconciling)
  const other = handOver([checkpointAt(100, { reconciling }), checkpointAt(130)].map((checkpoint) => ({ checkpoint, exact: true })), 900_000)
  t.equal(other.reconciling!.topicSince, -1, 'and conclude nothing where it may be another topic')
})
