import { Type } from '@sinclair/typebox'
import { OrderSchema } from './order.ts'

const POSITION_CHARACTERS_MAX = 8_192

const PositionSchema = (description: string) => Type.Optional(Type.String({
  pattern: `^[A-Za-z0-9_-]{1,${POSITION_CHARACTERS_MAX}}$`,
  description
}))

export const FeedQuerySchema = Type.Object({
  after: PositionSchema('the id of the event to go on after, for who can\'t send Last-Event-ID, which goes before it'),
  userId: Type.Optional(Type.String({
    ...OrderSchema.properties.userId,
    description: 'only orders of this user (1–128 characters)'
  }))
}, { additionalProperties: false })

export const FeedHeadersSchema = Type.Object({
  'last-event-id': PositionSchema('the id of the event to go on after, as an EventSource sends it')
})
