import t, { type Test } from 'tap'
import { openChangeStream } from '../../../src/mongo/change-stream.ts'
import { readLatest, type Checkpoint } from '../../../src/relay/checkpoint/checkpoint.ts'
import { openOrderEventsProducer } from '../../../src/kafka.ts'
import { positionOf } from '../../../src/relay/publishing/order-stream.ts'
import { topicRanges } from '../../../src/kafka/topic-reader.ts'
import { collectEvents, eventually } from '../../helper.ts'
import {
  createTopic,
  idsOf,
  insert,
  kafka,
  namesOf,
  newSetting,
  put,
  startLeading,
  startRelay,
  type Setting
} from '../../support/relays.ts'

/** The source that a service of this release gives to the orders of an earlier one. */
const LATER = { source: 'later' }

async function lastValue (setting: Setting, key: string): Promise<Checkpoint | undefined> {
  const names = namesOf(setting)
  const [range] = await topicRanges(kafka, names.checkpointTopic)
  const value = (await readLatest(kafka, names, range!.high, [key])).get(key)
  return value === undefined ? undefined : JSON.parse(value)
}

/**
 * What an earlier release has left: orders published, a checkpoint under the name of the database, and a copy of it in
 * the lease.
 */
async function leftByEarlier (t: Test) {
  const setting = await newSetting(t)
  const { relay } = await startLeading(t, setting)
  const collected = await collectEvents(t, setting.namespace)
  const told = await insert(setting.orders, 10)
  await collected.forOrders(told)
  const { seq, owner, ...checkpoint } = await eventually(() => relay.position, 5_000, 'a position')
  await relay.stop()
  await put(namesOf(setting).checkpointTopic, [{ key: setting.namespace, value: JSON.stringify(checkpoint) }])
  await setting.leases.updateOne({ _id: 'lease' }, { $set: { position: checkpoint }, $unset: { final: 1, owners: 1 } })
  return { ...setting, told, collected, checkpoint }
}

t.test(
  "the checkpoint of an earlier release is taken over: nothing comes twice, and that release can't go on",
  async (t) => {
    const { told, collected, ...setting } = await leftByEarlier(t)
    const { namespace, orders, db } = setting
    const names = { ...namesOf(setting), transactionalId: `${namespace}.relay.${namespace}` }
    const earlier = await openOrderEventsProducer({
      kafka,
      ...names,
      topic: namespace,
      partitions: 3,
      marker: { key: `${namespace} fence`, value: '' }
    })
    t.teardown(() => earlier.close())
    const untold = await insert(orders, 5)

    const { relay, told: linesAt } = await startLeading(t, setting, LATER)
    t.equal(linesAt('info', /goes on where an earlier release was/).length, 1)
    const [later] = await insert(orders, 1)
    const all = [...told, ...untold, later!]
    t.strictSame(idsOf(await collected.forOrders(all)), all.sort())

    await t.rejects(earlier.publish([], { key: namespace, value: '{}' }), /epoch|fenced/i, 'its producer is fenced')
    const left = await eventually(() => lastValue(setting, namespace), 5_000, 'its last checkpoint')
    const opening = (async () => {
      const stream = await openChangeStream({
        db,
        collection: 'orders',
        pipeline: [],
        position: positionOf(left),
        batchSize: 1
      })
      await stream.next(1_000).finally(() => stream.close())
    })()
    await t.rejects(opening, 'MongoDB does not know the token that it finds')

    await relay.stop()
    const again = await startLeading(t, setting, LATER)
    t.strictSame(again.told('info', /earlier release/), [], 'once')
    t.match(again.counts, { found: 0, sent: 0 })
  }
)

t.test('orders that several relays of an earlier release share are refused, in one line', async (t) => {
  const { checkpoint, ...setting } = await leftByEarlier(t)
  await put(namesOf(setting).checkpointTopic, [
    { key: `${setting.namespace} layout`, value: JSON.stringify({ shards: 3 }) },
    { key: setting.namespace, value: JSON.stringify({ ...checkpoint, left: true }) }
  ])
  const { relay, told: linesAt } = startRelay(t, setting, LATER)
  const line = await eventually(() => linesAt('warn')[0], 30_000, 'a line')
  t.match(
    line.fields.reason,
    /says that 3 relays share the orders .* run the earlier release once more with RELAY_SHARDS=1/
  )
  const attempts = () => linesAt('debug', /the relay stopped/).length
  await eventually(() => attempts() >= 5, 20_000, 'more attempts')
  t.equal(linesAt('warn').length, 1)
  t.equal(relay.leads, false)
})

t.test('an earlier checkpoint of another MongoDB with a database of this name is not taken', async (t) => {
  const setting = await newSetting(t)
  const ids = await insert(setting.orders, 5)
  const { operationTime } = await setting.db.command({ ping: 1 })
  const foreign = { operationTime: { t: operationTime.t + 1, i: 1 }, at: new Date().toISOString() }
  await createTopic({ topic: namesOf(setting).checkpointTopic, numPartitions: 1 })
  await put(namesOf(setting).checkpointTopic, [{ key: setting.namespace, value: JSON.stringify(foreign) }])
  await startLeading(t, setting)
  const collected = await collectEvents(t, setting.namespace)
  t.strictSame(idsOf(await collected.forOrders(ids)), ids.sort())
  t.strictSame(await lastValue(setting, setting.namespace), foreign, 'it is left to the other one')
})
