import t, { type Test } from 'tap'
import { toRecord } from '../../../src/models.ts'
import { collectEvents, eventually } from '../../helper.ts'
import {
  createTopic, deleteTopic, idsOf, insert, kafka, newSetting, put, putCheckpoint, startLeading, startRelay, type Setting
} from '../../support/relays.ts'

/** Orders that a relay has published before it was stopped in order. */
async function published (t: Test, count: number) {
  const setting = await newSetting(t)
  const { relay } = await startLeading(t, setting)
  const collected = await collectEvents(t, setting.namespace)
  const told = await insert(setting.orders, count)
  await collected.forOrders(told)
  await relay.stop()
  await collected.stop()
  return { ...setting, told }
}

async function assertOnTopic (t: Test, { namespace, orders }: Setting, ids: string[]): Promise<void> {
  const collected = await collectEvents(t, namespace)
  const later = await insert(orders, 12) // so many that each partition has had one
  t.strictSame(idsOf(await collected.forOrders([...ids, ...later])), [...ids, ...later].sort())
}

t.test(
  'Kafka lost its last checkpoints: no event is sent twice, one line says so, and new orders follow',
  async (t) => {
    const setting = await newSetting(t)
    const { relay } = await startLeading(t, setting)
    const collected = await collectEvents(t, setting.namespace)
    const first = await insert(setting.orders, 5)
    await collected.forOrders(first)
    const early = await eventually(() => relay.position, 5_000, 'a position')
    const second = await insert(setting.orders, 10)
    await collected.forOrders(second)
    await relay.stop()
    await putCheckpoint(setting, early)
    const untold = await insert(setting.orders, 5)

    const after = await startLeading(t, setting)
    t.match(after.counts, { sent: 5 })
    const errors = after.told('error')
    t.match(
      errors.map(({ msg }) => msg),
      [new RegExp(`^Kafka has lost the last checkpoints of ${setting.namespace}: .*${early.at}$`)]
    )
    t.equal(errors.length, 1)
    const [later] = await insert(setting.orders, 1)
    const all = [...first, ...second, ...untold, later!]
    t.strictSame(idsOf(await collected.forOrders(all)), all.sort())
    await after.relay.stop()
    const again = await startLeading(t, setting)
    t.strictSame(again.told('error'), [], 'once it has compared it goes on')
  }
)

/** Each partition has lost its second half: the topic holds the records of some orders only. */
async function lostTail (t: Test) {
  const { told, ...setting } = await published(t, 40)
  const { namespace, orders } = setting
  await deleteTopic(namespace)
  await createTopic({ topic: namespace, numPartitions: 3 })
  const documents = await orders.find().sort({ _id: 1 }).toArray()
  const kept = documents.slice(0, 20).map(toRecord)
  await put(namespace, kept as never)
  const keptIds = kept.map(({ key }) => key)
  return { setting, kept: keptIds, lost: told.filter((id) => !keptIds.includes(id)) }
}

t.test('partitions end before what was written: what is not on the topic waits, and skip leaves it out', async (t) => {
  const { setting, kept, lost } = await lostTail(t)
  const waiting = startRelay(t, setting)
  t.equal(await eventually(() => waiting.counts.unknowable, 30_000, 'unknowable orders'), lost.length)
  const lines = waiting.told(
    'error',
    /^partition \d of .* ends at offset \d+, and was written up to \d+: Kafka has lost events$/
  )
  t.strictSame(lines.map(({ fields }) => fields.partition), [0, 1, 2])
  for (const { fields, msg } of lines) {
    t.ok(Number(fields.end) > 0 && Number(fields.end) < Number(fields.written))
    t.match(msg, `ends at offset ${fields.end}, and was written up to ${fields.written}`)
  }
  t.equal(waiting.relay.leads, false)
  await waiting.relay.stop()

  const skipping = await startLeading(t, setting, { unknowable: 'skip' })
  t.match(skipping.counts, { found: kept.length, skipped: lost.length, sent: 0, unknowable: 0 })
  await assertOnTopic(t, setting, kept)
})

t.test('partitions end before what was written: send sends what is not on the topic, once', async (t) => {
  const { setting, kept, lost } = await lostTail(t)
  const sending = await startLeading(t, setting, { unknowable: 'send' })
  t.match(sending.counts, { found: kept.length, skipped: 0, sent: lost.length, unknowable: 0 })
  await assertOnTopic(t, setting, [...kept, ...lost])
})

t.test(
  "a topic made anew while no relay runs: a line says so, new orders follow and old ones don't come again",
  async (t) => {
    const { told, ...setting } = await published(t, 10)
    await deleteTopic(setting.namespace)
    const untold = await insert(setting.orders, 5)
    const { relay, told: linesAt } = await startLeading(t, setting)
    t.equal(linesAt('error', new RegExp(`the topic ${setting.namespace} was made anew`)).length, 1)
    t.equal(linesAt('error').length, 1)
    await assertOnTopic(t, setting, untold)
    await relay.stop()
    t.strictSame((await startLeading(t, setting)).told('error'), [], 'what is known is not said again')
  }
)

t.test('a topic made anew to which a transaction was aborted since has lost no events: it is new', async (t) => {
  const { told, ...setting } = await published(t, 30)
  await deleteTopic(setting.namespace)
  await createTopic({ topic: setting.namespace, numPartitions: 3 })
  const producer = kafka.producer({ transactionalId: setting.namespace, maxInFlightRequests: 1 })
  await producer.connect()
  t.teardown(() => producer.disconnect())
  const transaction = await producer.transaction()
  for (const partition of [0, 1, 2]) {
    await transaction.send({ topic: setting.namespace, messages: [{ partition, key: told[0]!, value: 'aborted' }] })
  }
  await transaction.abort()
  const untold = await insert(setting.orders, 5)
  const { told: linesAt } = await startLeading(t, setting)
  t.equal(linesAt('error', /was made anew/).length, 1)
  t.equal(linesAt('error').length, 1)
  await assertOnTopic(t, setting, untold)
})

for (const [what, makeAnew] of [
  ['by the relay', async () => {}],
  ['at once by somebody else', async (topic: string) => await createTopic({ topic, numPartitions: 3 })]
] as const) {
  t.test(
    `a topic deleted under a leader and made anew ${what}: a line says so, new orders follow, and only they`,
    async (t) => {
      const setting = await newSetting(t)
      const { relay, told: linesAt } = await startLeading(t, setting)
      const before = await collectEvents(t, setting.namespace)
      await before.forOrders(await insert(setting.orders, 30))
      await before.stop()
      await deleteTopic(setting.namespace)
      await makeAnew(setting.namespace)
      const untold = await insert(setting.orders, 12)
      await assertOnTopic(t, setting, untold)
      t.equal(linesAt('error', new RegExp(`the topic ${setting.namespace} was made anew`)).length, 1)
      await eventually(() => relay.leads, 10_000, 'a leader')
    }
  )
}
