import t from 'tap'
import type { NewOrder } from '../../schemas/order.ts'
import { aNewOrder, post, startService } from '../helper.ts'
import { receive } from '../../src/events/received-event.ts'
import { isOrderDocument, toRecord, type OrderDocument } from '../../src/models.ts'

t.test('every order that the API accepts makes an event that the consumer accepts', async (t) => {
  const service = await startService(t, { KAFKA_BROKERS: 'off', REDIS_URL: 'off' })
  const collection = service.db.collection<OrderDocument>('orders')
  const orders: NewOrder[] = [
    aNewOrder,
    ...['😀', '😀'.repeat(128), '\u0000', '\u2028', '"\\', '\n'.repeat(128), '\ufeff', '\uffff'].map((text) => ({
      userId: text,
      products: [{ _id: text, quantity: 1_000_000 }]
    })),
    { userId: 'u', products: Array.from({ length: 1000 }, (_, index) => ({ _id: `😀${index}`, quantity: 1 })) }
  ]
  for (const [index, order] of orders.entries()) {
    const { status, body } = await post(service.url, order)
    t.equal(status, 201)
    const document = await collection.findOne({}, { sort: { _id: -1 } })
    t.ok(isOrderDocument(document!), 'the relay takes it for one of ours')
    const { key, value, headers } = toRecord(document!)
    const message = {
      key: Buffer.from(key),
      value: Buffer.from(value),
      headers: { ...headers },
      offset: '0',
      timestamp: '',
      attributes: 0
    }
    const received = receive(message, 0)
    t.match(received, { event: { payload: body, userId: order.userId, products: order.products } }, `order ${index}`)
  }
})
