import { createRequire } from 'node:module'
import t from 'tap'
import { checkpointTopicOf } from '../../src/relay/checkpoint/checkpoint.ts'
import { withAdmin } from '../../src/kafka/admin.ts'
import { collectEvents, eventually } from '../helper.ts'
import { deleteTopic, idsOf, insert, kafka, newSetting, startLeading, startRelay } from '../support/relays.ts'

const require = createRequire(import.meta.url)
const murmur2 = require('kafkajs/src/producer/partitioners/default/murmur2.js') as (key: string) => number

/** Where Kafka's clients put a key. */
const placeOf = (key: string, partitions: number): number => (murmur2(key) & 0x7fffffff) % partitions

t.test(
  "partitions are added while a relay leads: new records go where Kafka's clients put them, nothing twice",
  async (t) => {
    const setting = await newSetting(t)
    const { relay, lines, told } = await startLeading(t, setting, { lookMs: 200 })
    const early = await collectEvents(t, setting.namespace)
    const before = await insert(setting.orders, 30)
    await early.forOrders(before)
    await early.stop()

    const partitions = { topic: setting.namespace, count: 6 }
    await withAdmin(kafka, 'partitions', (admin) => admin.createPartitions({ topicPartitions: [partitions] }))
    const anew = () => lines.filter(({ msg }) => msg === 'the relay leads').length === 2
    await eventually(anew, 20_000, 'a new leadership')
    const after = await insert(setting.orders, 60)
    const collected = await collectEvents(t, setting.namespace)
    await collected.forOrders([...before, ...after])

    const added = new Set(after)
    const misplaced = collected.events.filter(
      ({ event: { orderId }, partition }) => partition !== placeOf(orderId, added.has(orderId) ? 6 : 3)
    )
    t.strictSame(misplaced, [])
    t.equal(new Set(collected.events.map(({ partition }) => partition)).size, 6)
    t.strictSame(idsOf(collected.events), [...before, ...after].sort())
    t.strictSame([...told('warn'), ...told('error')], [])

    await relay.stop()
    const untold = await insert(setting.orders, 5)
    const next = await startLeading(t, setting)
    t.strictSame(
      idsOf(await collected.forOrders([...before, ...after, ...untold])),
      [...before, ...after, ...untold].sort()
    )
    t.strictSame(
      [next.told('warn'), next.told('error'), next.counts.sent],
      [[], [], 0],
      'it is the same topic as before'
    )
    await next.relay.stop()

    await setting.leases.updateOne({ _id: 'lease' }, { $set: { final: false } }) // as if it had been killed
    await deleteTopic(checkpointTopicOf(setting.namespace))
    const comparing = startRelay(t, setting)
    const missed = await insert(setting.orders, 5)
    await eventually(
      () => comparing.relay.leads || comparing.counts.unknowable > 0,
      30_000,
      'the end of the comparison'
    )
    t.match(comparing.counts, { unknowable: 0 }, 'what it holds is known also where partitions were added')
    const all = [...before, ...after, ...untold, ...missed]
    t.strictSame(idsOf(await collected.forOrders(all)), all.sort())
  }
)
