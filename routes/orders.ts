import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import {
  NewOrderHeadersSchema,
  NewOrderSchema,
  OrderParamsSchema,
  OrderSchema,
  type NewOrder
} from '../schemas/order.ts'
import { OrderNotFound } from '../src/errors.ts'
import type { CreatedOrder } from '../src/orders/store.ts'
import type { OrderJson } from '../src/encoding/order-json.ts'
import { traceparentOf } from '../src/traceparent.ts'
import { envelopeOf, jsonAnswer, JSON_TYPE, problemAnswers } from './answers.ts'
import { entityTagOf, hasTag } from './entity-tag.ts'
import { prefersMinimal, refuseContentEncoding, takeUserIdFromHeader, unquoteIdempotencyKey } from './order-request.ts'

/** One order. It comes from the store as serialised bytes, already in the shape of its schema. */
const routes: FastifyPluginAsyncTypebox = async (app) => {
  const { orders, reads } = app
  const [prefix, suffix] = envelopeOf(app.settings)
  const tagged = app.settings.ETAG === 'on'
  const [before, after] = [Buffer.from(prefix), Buffer.from(suffix)]

  function envelope (json: OrderJson): OrderJson {
    if (prefix === '') return json
    return typeof json === 'string' ? prefix + json + suffix : Buffer.concat([before, json, after])
  }

  function sendOrder (reply: FastifyReply, json: OrderJson): void {
    reply.type(JSON_TYPE).send(envelope(json))
  }

  /** What is saved is the body: only the look-up knows that the order is there, and is still the same. */
  function sendTagged ({ headers }: Pick<FastifyRequest, 'headers'>, reply: FastifyReply, json: OrderJson): void {
    const body = envelope(json)
    const tag = entityTagOf(body)
    reply.header('etag', tag).header('cache-control', 'private, no-cache')
    if (hasTag(headers['if-none-match'], tag)) reply.code(304).send()
    else reply.type(JSON_TYPE).send(body)
  }

  function admit (_request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void {
    done(orders.refusal())
  }

  /** @returns an order that came before: what was stored is answered, whatever the gateway says of it by now */
  async function checked (order: NewOrder, key: string | undefined): Promise<CreatedOrder | undefined> {
    const refused = await app.refusalByGateway!(order)
    if (refused === undefined) return undefined
    const earlier = key === undefined ? undefined : await orders.find(order, key)
    if (earlier === undefined) throw refused
    return earlier
  }

  app.get('/:id', {
    schema: {
      operationId: 'getOrder',
      summary: 'One order',
      params: OrderParamsSchema,
      response: {
        200: jsonAnswer('the order', OrderSchema, { ETag: { type: 'string', description: 'only with ETAG=on' } }),
        304: { description: 'with ETAG=on: the order is the one whose ETag was sent as If-None-Match', type: 'null' },
        ...problemAnswers
      },
      problems: {
        400: ['VALIDATION_FAILED'],
        404: ['ORDER_NOT_FOUND'],
        503: ['OVERLOADED', 'STORE_UNAVAILABLE']
      }
    }
  }, (request, reply) => {
    const id = request.params.id.toLowerCase()
    const found = reads.find(id)
    const answer = (json: OrderJson | undefined): void => {
      if (json === undefined) throw new OrderNotFound(id)
      if (tagged) sendTagged(request, reply, json)
      else sendOrder(reply, json)
    }
    return found instanceof Promise ? found.then(answer) : answer(found) // what is at hand needs no promise
  })

  app.post('/', {
    onRequest: [admit, refuseContentEncoding], // before a body is read that would be thrown away
    preValidation: [takeUserIdFromHeader, unquoteIdempotencyKey],
    schema: {
      operationId: 'createOrder',
      summary: 'Stores an order',
      description:
        'A 201 means that a majority of MongoDB has the order in its journal, and that its event will be published once. With an Idempotency-Key it can be sent again at any time, and is stored once.',
      headers: NewOrderHeadersSchema,
      body: NewOrderSchema,
      response: {
        201: jsonAnswer('the order as it is stored', OrderSchema, {
          Location: { type: 'string', description: 'where the order is, relative to the host' },
          'Preference-Applied': { type: 'string', description: 'return=minimal, if there is no body for that reason' },
          'Idempotent-Replayed': {
            type: 'string',
            enum: ['true'],
            description: 'only if an order with this Idempotency-Key came before: it is the one that is answered'
          }
        }),
        ...problemAnswers
      },
      problems: {
        400: [
          'VALIDATION_FAILED', 'INVALID_JSON', 'NOT_UTF8', 'INVALID_CONTENT_LENGTH', 'USER_ID_REPEATED',
          'USER_ID_CONFLICT', 'IDEMPOTENCY_KEY_REPEATED', 'IDEMPOTENCY_KEY_MALFORMED'
        ],
        409: ['IDEMPOTENCY_KEY_IN_USE'],
        413: ['BODY_TOO_LARGE'],
        415: ['UNSUPPORTED_MEDIA_TYPE', 'CONTENT_ENCODING_UNSUPPORTED'],
        422: ['IDEMPOTENCY_KEY_REUSED', 'UNKNOWN_USER', 'UNKNOWN_PRODUCT'],
        503: ['OVERLOADED', 'NOT_STORED', 'OUTCOME_UNKNOWN', 'STORE_UNAVAILABLE', 'GATEWAY_UNAVAILABLE']
      }
    },
    links: { 201: { getOrder: { operationId: 'getOrder', parameters: { id: '$response.body#/_id' } } } }
  }, async (request, reply) => {
    const { body, headers: { 'idempotency-key': key, traceparent, prefer } } = request
    const earlier = app.refusalByGateway === undefined ? undefined : await checked(body, key)
    const { id, json, replayed } = earlier ?? await orders.create(body, traceparentOf(traceparent), key)
    if (!replayed) app.warnByGateway?.(body)
    if (replayed) reply.header('idempotent-replayed', 'true')
    reply.code(201).header('location', `${app.prefix}/${id}`)
    if (prefersMinimal(prefer)) reply.header('preference-applied', 'return=minimal').send()
    else sendOrder(reply, json)
  })
}

export default routes
