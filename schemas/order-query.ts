import { Type, type Static } from '@sinclair/typebox'
import { OrderLineSchema, OrderSchema } from './order.ts'

export const PAGE_ORDERS_DEFAULT = 100
export const PAGE_ORDERS_MAX = 1_000
/** Their text is 6 KB of a request line, which usual proxies limit to 8. */
export const IDS_MAX = 250

const ORDER_ID = '[0-9a-fA-F]{24}'
/** RFC 3339, section 5.6. */
const TIME = '^\\d{4}-\\d\\d-\\d\\d[Tt ]\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?([Zz]|[+-]\\d\\d:\\d\\d)$'

const TimeSchema = (description: string) => Type.String({ format: 'date-time', pattern: TIME, description })

/** The query of a list. Any parameter but `ids` makes it a page. */
export const OrderQuerySchema = Type.Object({
  limit: Type.Optional(Type.Integer({
    minimum: 1,
    maximum: PAGE_ORDERS_MAX,
    description: `orders in a page, ${PAGE_ORDERS_DEFAULT} by default`
  })),
  after: Type.Optional(Type.String({
    pattern: `^${ORDER_ID}$`,
    description: 'the page begins after this order id, be there such an order or not'
  })),
  order: Type.Optional(Type.Unsafe<'asc' | 'desc'>({
    type: 'string',
    enum: ['asc', 'desc'],
    description: 'by id, and so by time: asc, the default, begins with the oldest'
  })),
  userId: Type.Optional(Type.String({
    ...OrderSchema.properties.userId,
    description: 'only orders of this user (1–128 characters), where ORDER_INDEXES is user or all'
  })),
  productId: Type.Optional(Type.String({
    ...OrderLineSchema.properties._id,
    description: 'only orders with this product (1–128 characters), where ORDER_INDEXES is product or all'
  })),
  createdFrom: Type.Optional(TimeSchema('orders of this RFC 3339 time or later')),
  createdTo: Type.Optional(TimeSchema('orders before this RFC 3339 time')),
  ids: Type.Optional(Type.String({
    pattern: `^${ORDER_ID}(,${ORDER_ID}){0,${IDS_MAX - 1}}$`,
    description: `1–${IDS_MAX} order ids with commas between: these, in this order, and null for those that are unknown`
  }))
}, { additionalProperties: false })
export type OrderQuery = Static<typeof OrderQuerySchema>
