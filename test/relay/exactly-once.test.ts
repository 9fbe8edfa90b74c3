import t from 'tap'
import { collectEvents, eventually, aNewOrder, post, startService } from '../helper.ts'

t.test('a created order is in MongoDB and exactly once on the topic', async (t) => {
  const service = await startService(t)
  await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const { status, body: order } = await post(`${service.url}/orders`, aNewOrder, { traceparent })
  t.equal(status, 201)

  const stored = await service.db.collection('orders').findOne()
  t.equal(stored?._id.toHexString(), order._id)
  t.equal(stored?.traceparent, traceparent, 'which never goes over the wire')
  t.strictSame(Object.keys(order), ['_id', 'userId', 'products', 'createdAt', 'updatedAt'])

  const collected = await collectEvents(t, service.namespace)
  const [received, ...more] = await collected.forOrders([order._id])
  t.strictSame(more, [])
  t.strictSame(received!.event, {
    type: 'order-placed',
    eventType: 'order-placed',
    userId: 'user-1',
    orderId: order._id,
    products: aNewOrder.products,
    payload: order
  })
  t.strictSame(received!.headers, {
    ce_specversion: '1.0',
    ce_id: order._id,
    ce_type: 'order-placed',
    ce_source: '/orders',
    ce_subject: order._id,
    ce_time: order.createdAt,
    'content-type': 'application/json',
    traceparent
  })
})

t.test('an event belongs to the trace of its request, whatever version that speaks', async (t) => {
  const service = await startService(t)
  const ids = '0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331'
  const { status, body: order } = await post(`${service.url}/orders`, aNewOrder, { traceparent: `01-${ids}-01-more` })
  t.equal(status, 201)
  const collected = await collectEvents(t, service.namespace)
  const [received] = await collected.forOrders([order._id])
  t.equal(received!.headers.traceparent, `00-${ids}-01`)
})
