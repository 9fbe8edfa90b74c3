import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import {
  NewOrderHeadersSchema,
  NewOrderSchema,
  OrderParamsSchema,
  OrderSchema
} from '../schemas/order.ts'
import { OrderNotFound } from '../src/errors.ts'
import type { OrderJson } from '../src/encoding/order-json.ts'
import { traceparentOf } from '../src/traceparent.ts'
import { envelopeOf, JSON_TYPE, problems } from './answers.ts'
import { refuseContentEncoding, takeUserIdFromHeader, unquoteIdempotencyKey } from './order-request.ts'

/** One order. It comes from the store as serialised bytes, already in the shape of its schema. */
const routes: FastifyPluginAsyncTypebox = async (app) => {
  const { orders, reads } = app
  const [prefix, suffix] = envelopeOf(app.settings)
  const [before, after] = [Buffer.from(prefix), Buffer.from(suffix)]

  function envelope (json: OrderJson): OrderJson {
    if (prefix === '') return json
    return typeof json === 'string' ? prefix + json + suffix : Buffer.concat([before, json, after])
  }

  function sendOrder (reply: FastifyReply, json: OrderJson): void {
    reply.type(JSON_TYPE).send(envelope(json))
  }

  function admit (_request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void {
    done(orders.refusal())
  }

  app.get('/:id', {
    schema: { params: OrderParamsSchema, response: { 200: OrderSchema, ...problems } }
  }, (request, reply) => {
    const id = request.params.id.toLowerCase()
    const found = reads.find(id)
    const answer = (json: OrderJson | undefined): void => {
      if (json === undefined) throw new OrderNotFound(id)
      sendOrder(reply, json)
    }
    return found instanceof Promise ? found.then(answer) : answer(found) // what is at hand needs no promise
  })

  app.post('/', {
    onRequest: [admit, refuseContentEncoding], // before a body is read that would be thrown away
    preValidation: [takeUserIdFromHeader, unquoteIdempotencyKey],
    schema: { headers: NewOrderHeadersSchema, body: NewOrderSchema, response: { 201: OrderSchema, ...problems } }
  }, async (request, reply) => {
    const { id, json, replayed } = await orders.create(
      request.body,
      traceparentOf(request.headers.traceparent),
      request.headers['idempotency-key']
    )
    if (replayed) reply.header('idempotent-replayed', 'true')
    sendOrder(reply.code(201).header('location', `${app.prefix}/${id}`), json)
  })
}

export default routes
