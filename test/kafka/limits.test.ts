import t, { type Test } from 'tap'
import { toDocument } from '../../src/models.ts'
import { audit } from '../../tools/audit-run.ts'
import { assertExactlyOnce, connectMongo } from '../support/faults.ts'
import { aNewOrder, collectEvents, eventually, metric, parts, post, startService } from '../helper.ts'
import {
  createTopic, heldOrdersOf, idsOf, insert, limitMessages, newSetting, startLeading, TRACEPARENT, type Setting
} from '../support/relays.ts'
import { run } from '../support/tools.ts'

const BYTES_MAX = 100_000
const limited = [{ name: 'max.message.bytes', value: String(BYTES_MAX) }]

/** As nobody can POST one: in JSON each of these characters is six. */
function hugeOrder () {
  const products = Array.from({ length: 1_000 }, () => ({ _id: '\u0001'.repeat(128), quantity: 1 }))
  return toDocument({ ...aNewOrder, products }, TRACEPARENT)
}

async function assertOnce (t: Test, { namespace }: Setting, ids: string[]): Promise<void> {
  const collected = await collectEvents(t, namespace)
  t.strictSame(idsOf(await collected.forOrders(ids)), ids.sort())
}

t.test('a topic that takes 100 kB at once gets a backlog of 1,000 orders', async (t) => {
  const setting = await newSetting(t)
  await createTopic({ topic: setting.namespace, numPartitions: 3, configEntries: limited })
  const ids = await insert(setting.orders, 1_000)
  const { told } = await startLeading(t, setting)
  await assertOnce(t, setting, ids)
  t.strictSame([...told('error'), ...told('debug', /the relay stopped/)], [], 'it has asked for the limit before')
})

t.test('the limit is lowered under a leader: all is published once', async (t) => {
  const setting = await newSetting(t)
  const { told } = await startLeading(t, setting)
  const before = await insert(setting.orders, 10)
  await limitMessages(setting.namespace, BYTES_MAX)
  const ids = await insert(setting.orders, 1_000)
  await assertOnce(t, setting, [...before, ...ids])
  t.ok(told('debug', /the relay stopped/).length > 0, 'it has met the limit')
})

t.test('an order by hand that is too large is set aside and named, until the limit is raised', async (t) => {
  const setting = await newSetting(t)
  const { counts, told } = await startLeading(t, setting, { lookMs: 200 })
  const huge = hugeOrder()
  const id = String(huge._id)
  await setting.orders.insertOne(huge)
  const others = await insert(setting.orders, 10)
  const collected = await collectEvents(t, setting.namespace)
  await collected.forOrders(others)
  t.strictSame(told('error').map(({ fields }) => fields.orders), [[id]], 'one line names it')
  t.match(told('error')[0]!.msg, /raise its max\.message\.bytes/)
  await eventually(() => counts.oversized === 1, 2_000, 'the metric')
  await limitMessages(setting.namespace, 3_000_000)
  t.strictSame(idsOf(await collected.forOrders([id, ...others])), [id, ...others].sort())
  await eventually(() => counts.oversized === 0, 5_000, 'the metric')
  await collected.forOrders(await insert(setting.orders, 12))
  t.equal(collected.events.filter(({ event }) => event.orderId === id).length, 1)
})

t.test('a relay that dies just after it has published what was set aside does not publish it again', async (t) => {
  const setting = await newSetting(t)
  const first = await startLeading(t, setting)
  const huge = hugeOrder()
  await setting.orders.insertOne(huge)
  const id = String(huge._id)
  await eventually(() => first.told('error').length > 0, 20_000, 'an order that is set aside')
  await eventually(async () => (await first.relay.position)?.orderId === id, 5_000, 'a checkpoint behind it')
  await first.relay.stop()
  await limitMessages(setting.namespace, 3_000_000)
  let deaths = 0
  const held = heldOrdersOf(setting)
  const remove: typeof held.remove = async (reason, ids) => {
    if (deaths++ < 1) throw new Error('dead, just after the transaction')
    await held.remove(reason, ids)
  }
  await startLeading(t, setting, { held: { ...held, remove } })
  t.equal(deaths, 2)
  t.strictSame((await held.read()).oversized, [])
  await assertOnce(t, setting, [id, ...await insert(setting.orders, 12)])
})

t.test('what is set aside shows in the metrics, and the audit and its repair leave it to the relay', async (t) => {
  const service = await startService(t)
  const { namespace, url, db } = service
  await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
  const huge = hugeOrder()
  await db.collection<{ _id: unknown }>('orders').insertOne(huge)
  const { body: { _id: other } } = await post(url)
  const collected = await collectEvents(t, namespace)
  await collected.forOrders([other])
  await eventually(async () => await metric(service, 'relay_oversized_orders') === 1, 5_000, 'the metric')
  for (const args of [[], ['--repair']]) {
    const { out, err } = await run(audit, namespace, ['--json', '--grace', '0', ...args])
    t.match(
      JSON.parse(out),
      { pending: { count: 1, first: [String(huge._id)] }, missing: { count: 0 }, repaired: { count: 0 } },
      err
    )
  }
  await limitMessages(namespace, 3_000_000)
  await service.close()
  const next = await startService(t, {}, namespace)
  const ids = [other, String(huge._id)]
  await assertExactlyOnce(t, {
    client: await connectMongo(t, parts.mongoUrl),
    namespace,
    ids,
    collected,
    url: next.url
  })
})
