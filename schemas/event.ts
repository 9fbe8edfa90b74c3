import { FormatRegistry, Type, type Static } from '@sinclair/typebox'
import { OrderSchema } from './order.ts'

// TypeBox's own checker, which the consumer uses, knows no formats. Times are always written in UTC with milliseconds.
FormatRegistry.Set('date-time', (text) => /^[+-]?\d{4,6}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(text))

export const ORDER_PLACED = 'order-placed'

/**
 * The value of a record on `order-events`. Subscribers of today read different halves of it:
 * product-service `type` and `payload.products`, notifications-service `userId`, `orderId` and `eventType`.
 */
export const OrderEventSchema = Type.Object({
  type: Type.Literal(ORDER_PLACED),
  eventType: Type.Literal(ORDER_PLACED),
  userId: OrderSchema.properties.userId,
  orderId: OrderSchema.properties._id,
  products: OrderSchema.properties.products,
  payload: OrderSchema
}, { additionalProperties: false })
export type OrderEvent = Static<typeof OrderEventSchema>

/** The record's headers: CloudEvents 1.0, Kafka protocol binding, binary mode; and W3C Trace Context. */
export const OrderEventHeadersSchema = Type.Object({
  ce_specversion: Type.Literal('1.0'),
  ce_id: Type.String({
    pattern: '^[0-9a-f]{24}$',
    description: 'the order id; the same if an event is ever sent again'
  }),
  ce_type: Type.Literal(ORDER_PLACED),
  ce_source: Type.Literal('/orders'),
  ce_subject: Type.String(),
  ce_time: Type.String({ format: 'date-time' }),
  'content-type': Type.Literal('application/json'),
  traceparent: Type.String({ pattern: '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' }),
  replay: Type.Optional(
    Type.Literal('true', { description: 'only in records that `npm run replay` sent: history, published before' })
  )
})
export type OrderEventHeaders = Static<typeof OrderEventHeadersSchema>
