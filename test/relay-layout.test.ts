import t from 'tap'
import { toDocument } from '../src/models.ts'
import { openOrderEventsProducer } from '../src/kafka.ts'
import { layoutMessage } from '../src/layout.ts'
import { fenceMarker, layoutNames, relayNames } from '../src/relay-topics.ts'
import { assertSeenPlainly, subscribePlainly } from './faults.ts'
import { aNewOrder, collectEvents, eventually } from './helper.ts'
import { assertOnce, newSetting, startInserting, startRelays, TRACEPARENT } from './relays.ts'
import { kafka } from './tools.ts'

/* The number of shards changes. */

t.test('relays of three settings that only Kafka keeps apart take the shards from each other under load, and each order is told once', async (t) => {
  const setting = await newSetting(t)
  const one = startRelays(t, setting, 1, 'relay1')
  await one.allLed()
  const collected = await collectEvents(t, setting.namespace)
  const plain = subscribePlainly(t, setting.namespace)
  const inserting = startInserting(t, setting.orders)
  const all = [one, startRelays(t, setting, 3, 'relay3'), startRelays(t, setting, 2, 'relay2')]
  const changes = (): number => all.flatMap(({ lines }) => lines).filter((line) => /another number of shards/.test(line)).length
  await eventually(() => changes() >= 6 && collected.events.length > 500, 90_000, 'many changes')
  await Promise.all([all[0]!, all[1]!].map(({ relays }) => relays.stop()))
  await all[2]!.allLed()
  await assertOnce(t, setting, await inserting.stop(), collected)
  await assertSeenPlainly(t, plain, collected)
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
