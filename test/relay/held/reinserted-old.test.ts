import { ObjectId, type Document } from 'mongodb'
import t, { type Test } from 'tap'
import { createHeldOrders, type HeldDocument } from '../../../src/relay/publishing/held-orders.ts'
import { createPartitionOf } from '../../../src/events/partition.ts'
import { collectEvents, eventually } from '../../helper.ts'
import {
  HOUR_MS,
  insert,
  kafka,
  newSetting,
  ordersOf,
  startRelay,
  TRACEPARENT,
  type Setting
} from '../../support/relays.ts'

/* Orders whose ids say that they can't have been posted just now, as a restore inserts them. */

type Collected = Awaited<ReturnType<typeof collectEvents>>

const DAYS_MS = 72 * HOUR_MS
const admin = kafka.admin()
t.before(() => admin.connect())
t.teardown(() => admin.disconnect())

async function leading (t: Test, setting: Setting, options: Parameters<typeof startRelay>[2] = {}) {
  const started = startRelay(t, setting, options)
  await eventually(() => started.relay.leads, 30_000, 'a leader')
  return started
}

async function newLeader (t: Test) {
  const setting = await newSetting(t)
  const leader = await leading(t, setting)
  const collected = await collectEvents(t, setting.namespace)
  return { setting, leader, collected }
}

/** Takes what is on the topic off it, as retention does; so many that each partition has had some. */
async function forgetTopic ({ namespace, orders }: Setting, collected: Collected): Promise<string[]> {
  const ids = await insert(orders, 40)
  await collected.forOrders(ids)
  const offsets = await admin.fetchTopicOffsets(namespace)
  const partitions = offsets.map(({ partition, high }) => ({ partition, offset: high }))
  await admin.deleteTopicRecords({ topic: namespace, partitions })
  return ids
}

const ids = ({ events }: Pick<Collected, 'events'>): string[] => events.map(({ event }) => event.orderId).sort()

/** Waits for new orders, one in each partition, and so for whatever was inserted before. @returns the new ones */
async function passed ({ orders }: Setting, collected: Collected): Promise<string[]> {
  const partitionOf = createPartitionOf(3)
  const byPartition = new Map(ordersOf(100).map((document) => [partitionOf(String(document._id)), document]))
  const documents = [...byPartition.values()]
  await orders.insertMany(documents)
  const last = documents.map(({ _id }) => String(_id))
  await collected.forOrders(last)
  return last
}

t.test('orders from days ago that are on the topic get no second event, those that never were get one', async (t) => {
  const { setting, leader, collected } = await newLeader(t)
  const told = await insert(setting.orders, 5, DAYS_MS)
  await collected.forOrders(told)
  const documents = await setting.orders.find().toArray()
  await setting.orders.deleteMany({})
  const untold = ordersOf(4, DAYS_MS)
  await setting.orders.insertMany([...documents, ...untold])
  const last = await passed(setting, collected)
  t.strictSame(ids(collected), [...told, ...untold.map(({ _id }) => String(_id)), ...last].sort())
  t.equal(leader.counts.unknowable, 0)
})

for (const choice of ['send', 'skip'] as const) {
  t.test(`orders of which nobody can know wait for a choice: ${choice}`, async (t) => {
    const { setting, leader, collected } = await newLeader(t)
    const told = await forgetTopic(setting, collected)
    const old = await insert(setting.orders, 3, DAYS_MS)
    const last = await passed(setting, collected)
    t.strictSame(ids(collected), [...told, ...last].sort(), 'none before the choice')
    t.equal(leader.counts.unknowable, 3, 'as the metric says at once')
    const lines = leader.matching(/nobody can know/)
    t.equal(lines.length, 1)
    t.match(lines[0]!.msg, /of 3 nobody can know: they wait until you start all .* RELAY_UNKNOWABLE=send .* or skip/)
    t.equal(lines[0]!.fields.since, new ObjectId(old[0]).getTimestamp().toISOString())
    await leader.relay.stop()

    const again = await leading(t, setting)
    t.equal(again.counts.unknowable, 3, 'a start without a choice changes nothing')
    await again.relay.stop()

    const chosen = await leading(t, setting, { unknowable: choice })
    const expected = [...told, ...last, ...choice === 'send' ? old : [], ...await passed(setting, collected)]
    t.strictSame(ids(collected), expected.sort())
    t.equal(chosen.counts.unknowable, 0)
    await chosen.relay.stop()
    await leading(t, setting, { unknowable: 'send' })
    expected.push(...await passed(setting, collected))
    t.strictSame(ids(collected), expected.sort(), 'once and for all')
  })
}

t.test('orders that were noted before a crash and had been sent are not sent again', async (t) => {
  const { setting, leader, collected } = await newLeader(t)
  const told = await insert(setting.orders, 2)
  await collected.forOrders(told)
  await leader.relay.stop()
  const held = createHeldOrders({ collection: setting.db.collection<HeldDocument>('relay'), topic: setting.namespace })
  const [untold] = await insert(setting.db.collection('elsewhere'), 1)
  await held.add('unknowable', [...told, untold!])
  await leading(t, setting, { unknowable: 'send' })
  const last = await passed(setting, collected)
  t.strictSame(ids(collected), [...told, ...last].sort())
  t.strictSame((await held.read()).unknowable, [], 'also one that is no longer there')
})

t.test('a restore of 6,000 orders takes one pass over the topic', async (t) => {
  const { setting, leader, collected } = await newLeader(t)
  const told = await insert(setting.orders, 6_000)
  await collected.forOrders(told)
  const documents = await setting.orders.find().toArray()
  await leader.relay.stop()
  await setting.orders.deleteMany({})
  await setting.orders.insertMany(documents)
  let looks = 0
  const counting = new Proxy(kafka, {
    get (target, name, receiver) {
      if (name === 'admin') looks++
      return Reflect.get(target, name, receiver)
    }
  })
  const next = await leading(t, setting, { kafka: counting })
  const before = looks
  const last = await passed(setting, collected)
  t.strictSame(ids(collected), [...told, ...last].sort())
  t.equal(looks - before, 2, 'before and after the pass Kafka says what is on the topic')
  t.equal(next.matching(/were inserted that MongoDB may have had before/).length, 1, 'one line')
})

t.test('documents of others, with an _id of any kind, do not stop the relay', async (t) => {
  const { setting, leader, collected } = await newLeader(t)
  const foreign = setting.db.collection<Document>('orders')
  // The driver's types take a document's _id for an ObjectId.
  const hex = ['0'.repeat(24), 'f'.repeat(24), '5f0000000000000000000002']
  const kinds = ['order-1', 7, ...hex, 'not of hex digits, of 24', { a: 1 }, new Date(), null] as never[]
  for (const _id of kinds) await foreign.insertOne({ _id, traceparent: TRACEPARENT })
  await foreign.insertOne({ ...ordersOf(1)[0]!, _id: '5f0000000000000000000001' as never })
  await foreign.deleteMany({ _id: { $in: kinds } })
  await foreign.insertMany(kinds.map((_id) => ({ _id, traceparent: TRACEPARENT })))
  const last = await passed(setting, collected)
  t.strictSame(ids(collected), last.sort())
  t.equal(leader.relay.leads, true)
  t.equal(leader.matching(/the relay tries again/).length, 0)
  t.equal(leader.matching(/the relay leads/).length, 1)
})
