import t from 'tap'
import { assertExactlyOnce, connectMongo, startPosting, storedIds } from '../support/faults.ts'
import { collectEvents, eventually, metric, parts, post, startService } from '../helper.ts'

const ORDERS = 2_000

t.test('orders posted at the same time are all stored and published once, in far fewer inserts', async (t) => {
  const service = await startService(t)
  await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
  const collected = await collectEvents(t, service.namespace)
  const client = await connectMongo(t, parts.mongoUrl)

  const told = await startPosting(t, () => `${service.url}/orders`, 64, ORDERS).done
  t.equal(told.filter(({ status }) => status === 201).length, ORDERS)
  t.equal(await metric(service, 'orders_created_total'), ORDERS)
  t.equal(await metric(service, 'order_insert_batch_size_sum'), ORDERS)
  const inserts = await metric(service, 'order_insert_batch_size_count')
  t.ok(inserts! < ORDERS / 4, `${inserts} inserts`)

  const ids = storedIds(told)
  t.equal(await client.db(service.namespace).collection('orders').countDocuments(), ORDERS)
  // The collector takes valid events only, and throws at a record whose key, ce_id and order id differ.
  await assertExactlyOnce(t, { client, namespace: service.namespace, ids, collected, url: service.url })
  const users = new Map(collected.events.map(({ event }) => [event.orderId, event.userId]))
  t.strictSame(
    told.filter(({ text }) => users.get(JSON.parse(text)._id) !== JSON.parse(text).userId),
    [],
    'each event tells of the order that its sender was answered'
  )
})

t.test('an order posted alone waits for nobody', async (t) => {
  const service = await startService(t)
  for (let i = 0; i < 5; i++) await post(service.url)
  const took: number[] = []
  for (let i = 0; i < 20; i++) {
    const began = performance.now()
    t.equal((await post(service.url)).status, 201)
    took.push(performance.now() - began)
  }
  const fastest = Math.min(...took)
  t.ok(fastest < 20, `the fastest took ${fastest.toFixed(1)} ms: less than any timer for collecting a batch would`)
  t.equal(await metric(service, 'order_insert_batch_size_count'), 25, 'each in an insert of its own')
})
