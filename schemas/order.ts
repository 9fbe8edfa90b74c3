import { Type, type Static } from '@sinclair/typebox'

/** Code points in a user's or a product's id. */
export const TEXT_CHARACTERS_MAX = 128
// Not empty. A lone surrogate has no UTF-8 form: stored and read back it would be another string than the one that was
// sent. A pattern alone says both, as it has to mean the same with the `u` flag, which Ajv sets, and without it, as
// TypeBox's own checker reads it: that one also takes `maxLength` for UTF-16 units, where a character outside the BMP
// counts twice.
export const TEXT_PATTERN = `^(?:[^\\ud800-\\udfff]|[\\ud800-\\udbff][\\udc00-\\udfff]){1,${TEXT_CHARACTERS_MAX}}$`

/** Any text that a neighbour uses as an id. */
const ForeignIdSchema = Type.String({
  pattern: TEXT_PATTERN,
  description: `1–${TEXT_CHARACTERS_MAX} characters (code points)`
})

export const OrderLineSchema = Type.Object({
  _id: ForeignIdSchema,
  quantity: Type.Integer({ minimum: 1, maximum: 1_000_000 })
}, { title: 'OrderLine', additionalProperties: false })

const OrderLinesSchema = Type.Array(OrderLineSchema, { minItems: 1, maxItems: 1_000 })

/** What a client sends to create an order. */
export const NewOrderSchema = Type.Object({
  userId: ForeignIdSchema,
  products: OrderLinesSchema
}, {
  title: 'NewOrder',
  additionalProperties: false,
  examples: [{ userId: 'user-1', products: [{ _id: 'product-1', quantity: 2 }] }]
})
export type NewOrder = Static<typeof NewOrderSchema>

/**
 * An order as every reader sees it, over HTTP and in the event. The order of the properties is the order on the wire.
 */
export const OrderSchema = Type.Object({
  _id: Type.String({ pattern: '^[0-9a-f]{24}$', description: '24 lower-case hex digits' }),
  userId: ForeignIdSchema,
  products: OrderLinesSchema,
  createdAt: Type.String({ format: 'date-time' }),
  updatedAt: Type.String({ format: 'date-time' })
}, {
  title: 'Order',
  additionalProperties: false,
  examples: [{
    _id: '6b02f71bd04988095b555726',
    userId: 'user-1',
    products: [{ _id: 'product-1', quantity: 2 }],
    createdAt: '2026-11-22T14:07:23.130Z',
    updatedAt: '2026-11-22T14:07:23.130Z'
  }]
})
export type Order = Static<typeof OrderSchema>

export const OrderListSchema = Type.Array(OrderSchema, { title: 'OrderList' })
/** As many as there were ids. */
export const OrderBatchSchema = Type.Array(Type.Union([OrderSchema, Type.Null()]), { title: 'OrderBatch' })

export const OrderParamsSchema = Type.Object({
  id: Type.String({ pattern: '^[0-9a-fA-F]{24}$', description: 'an order id: 24 hex digits, either case' })
})

const KEY_CHARACTERS_MAX = 255
/**
 * An Idempotency-Key as it is sent: a structured string (RFC 8941, section 3.3.3), which is printable ASCII in quotes
 * with `\"` and `\\` escaped, or bare in the way of Stripe.
 */
const quotedKey = (count: string): string => `"((?:[ !#-\\[\\]-~]|\\\\["\\\\])${count})"`
const bareKey = (count: string): string => `[!#-~][ -~]${count}`
export const QUOTED_KEY_PATTERN = `^${quotedKey('*')}$`
export const BARE_KEY_PATTERN = `^${bareKey('*')}$`
/** Of both, with the bounds that the schema has for a decoded one. */
export const KEY_HEADER_PATTERN = `^(?:${quotedKey(`{1,${KEY_CHARACTERS_MAX}}`)}|${bareKey(`{0,${KEY_CHARACTERS_MAX - 1}}`)})$`

/** Decoded: `x-user-id`, by which a gateway names the buyer, and `idempotency-key`. */
export const NewOrderHeadersSchema = Type.Object({
  'x-user-id': Type.Optional(Type.String({
    ...ForeignIdSchema,
    description: 'stands in for a missing userId, and must not name another user'
  })),
  prefer: Type.Optional(Type.String({ description: 'return=minimal: an answer without a body (RFC 7240)' })),
  'idempotency-key': Type.Optional(Type.String({
    minLength: 1,
    maxLength: KEY_CHARACTERS_MAX,
    description: 'the same for each attempt at an order, and another one for each order; quoted or bare'
  }))
})
