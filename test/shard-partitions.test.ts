import { ObjectId } from 'mongodb'
import t, { type Test } from 'tap'
import { originName } from '../src/lease.ts'
import { toDocument, type OrderDocument } from '../src/models.ts'
import { createPartitionOf } from '../src/partition.ts'
import { judge, MARGIN_MS } from '../src/verdict.ts'
import { audit } from '../tools/audit-run.ts'
import { replay } from '../tools/replay-run.ts'
import { assertSeenPlainly, subscribePlainly } from './faults.ts'
import { aNewOrder, collectEvents, eventually, newNamespace } from './helper.ts'
import { assertOnce, newSetting, startInserting, startRelays, TRACEPARENT, type Setting } from './relays.ts'
import { kafka, run } from './tools.ts'

/* Where an order's record lies depends on the number of shards, so who looks for one must know that it may have been another. */

const PARTITIONS = 3
const [partitionOf1, partitionOf3] = [createPartitionOf(PARTITIONS), createPartitionOf(PARTITIONS, 3)]

/** An order that would lie elsewhere with 3 shards than with one. */
function anOrderThatMoves (): OrderDocument {
  for (;;) {
    const order = toDocument(aNewOrder, TRACEPARENT)
    const id = String(order._id)
    if (partitionOf1(id) !== partitionOf3(id)) return order
  }
}

async function connectAdmin (t: Test) {
  const admin = kafka.admin()
  await admin.connect()
  t.teardown(() => admin.disconnect())
  return admin
}

/** As retention would. */
async function removeRecords (t: Test, topic: string, which = (_partition: number): boolean => true): Promise<void> {
  const admin = await connectAdmin(t)
  const ends = (await admin.fetchTopicOffsets(topic)).filter(({ partition, high }) => high !== '0' && which(partition))
  await admin.deleteTopicRecords({ topic, partitions: ends.map(({ partition, high }) => ({ partition, offset: high })) })
}

async function auditOf ({ db, namespace, origin }: Setting, ...args: string[]) {
  await db.collection<{ _id: string }>('relay').updateOne({ _id: originName(namespace) }, { $set: { operationTime: origin } }, { upsert: true })
  const { out, err } = await run(audit, namespace, ['--json', '--grace', '0', ...args])
  if (out === '') throw new Error(err)
  return JSON.parse(out)
}

t.test('an order is missing only if its partition lacks nothing; after a change of the number of shards, only if none does', async (t) => {
  const topic = newNamespace()
  const admin = await connectAdmin(t)
  await admin.createTopics({ topics: [{ topic, numPartitions: PARTITIONS }], waitForLeaders: true })
  const producer = kafka.producer()
  await producer.connect()
  await producer.send({ topic, messages: Array.from({ length: PARTITIONS }, (_value, partition) => ({ partition, value: '' })) })
  await producer.disconnect()
  await removeRecords(t, topic, (partition) => partition === 1)
  const readFromMs = Date.now() + MARGIN_MS
  const evidence = { kafka, topic, shards: 3, readFromMs, earlier: undefined, notBefore: Infinity }
  const idIn = (wanted: number): string => {
    for (;;) {
      const id = new ObjectId().toHexString()
      if (partitionOf3(id) === wanted) return id
    }
  }
  const verdicts = async (movedAt?: number) => {
    const verdict = await judge({ ...evidence, identity: { clusterId: '', since: 0, ends: [1, 1, 1], ...(movedAt === undefined ? {} : { movedAt }) } })
    return [0, 1, 2].map((partition) => verdict(idIn(partition)))
  }
  t.strictSame(await verdicts(), ['missing', 'unknowable', 'missing'])
  t.strictSame(await verdicts(readFromMs - 1), ['missing', 'unknowable', 'missing'])
  t.strictSame(await verdicts(readFromMs), ['unknowable', 'unknowable', 'unknowable'])
})

t.test('the audit takes no order for missing whose record retention removed from where it was told', async (t) => {
  const setting = await newSetting(t)
  const one = startRelays(t, setting, 1)
  await one.allLed()
  const collected = await collectEvents(t, setting.namespace)
  const order = anOrderThatMoves()
  await setting.orders.insertOne(order)
  await collected.forOrders([String(order._id)])
  await one.relays.stop()
  const three = startRelays(t, setting, 3, 'relay', { idleCheckpointMs: 100 })
  await three.allLed()
  await eventually(() => three.relays.positions.every((position) => position?.token !== undefined && position.handovers === undefined), 20_000, 'shards that are past the order')
  await three.relays.stop()
  await removeRecords(t, setting.namespace)
  for (const args of [[], ['--repair']]) {
    t.match(await auditOf(setting, ...args), { orders: 1, records: 0, unknowable: { count: 1 }, missing: { count: 0 }, repaired: { count: 0 } })
  }
})

t.test('a repair and a replay put records where the shard\'s relay does, and a replay to another topic where Kafka\'s clients do', async (t) => {
  const setting = await newSetting(t)
  const three = startRelays(t, setting, 3)
  await three.allLed()
  const collected = await collectEvents(t, setting.namespace)
  const lost = anOrderThatMoves()
  const { traceparent, ...legacy } = lost
  await setting.orders.insertOne(legacy as OrderDocument) // which is no order to the relays
  const told = [0, 1, 2].flatMap(() => Array.from({ length: 4 }, anOrderThatMoves))
  await setting.orders.insertMany(told)
  await collected.forOrders(told.map(({ _id }) => String(_id)))
  await three.relays.stop()
  await setting.orders.updateOne({ _id: lost._id }, { $set: { traceparent } })
  t.match(await auditOf(setting, '--repair'), { missing: { count: 0 }, repaired: { count: 1 } })
  t.match(await auditOf(setting), { clean: true })
  const ids = [lost, ...told].map(({ _id }) => String(_id))
  await collected.forOrders(ids)
  t.strictSame(collected.events.filter(({ event, partition }) => partition !== partitionOf3(event.orderId)), [])
  t.equal(collected.events.length, ids.length)

  const other = newNamespace()
  t.equal((await run(replay, setting.namespace, ['--to', other])).code, 0)
  const copies = await collectEvents(t, other)
  await copies.forOrders(ids)
  t.strictSame(copies.events.filter(({ event, partition }) => partition !== partitionOf1(event.orderId)), [])
  t.equal((await run(replay, setting.namespace, ['--to', setting.namespace])).code, 0)
  await eventually(() => collected.events.length === 2 * ids.length, 20_000, 'the replay')
  t.strictSame(collected.events.filter(({ event, partition }) => partition !== partitionOf3(event.orderId)), [])
})

t.test('more shards than partitions publish nothing and change nothing, and say what to do', async (t) => {
  const setting = await newSetting(t)
  const two = startRelays(t, setting, 2)
  await two.allLed()
  const collected = await collectEvents(t, setting.namespace)
  const plain = subscribePlainly(t, setting.namespace)
  const inserting = startInserting(t, setting.orders)
  const four = startRelays(t, setting, 4, 'relay4')
  await eventually(() => four.lines.some((line) => line.includes('RELAY_SHARDS=4 is too many for the topic\'s partitions (3), as each shard needs one of its own: set it to 3 at most')), 30_000, 'a line that says so')
  const before = collected.events.length
  await eventually(() => collected.events.length > before + 50, 30_000, 'events of those who publish')
  t.strictSame([two.relays.led, four.relays.led], [2, 0])
  await assertOnce(t, setting, await inserting.stop(), collected)
  await assertSeenPlainly(t, plain, collected)
  t.strictSame(collected.events.filter(({ event, partition }) => partition !== createPartitionOf(PARTITIONS, 2)(event.orderId)), [])
})
