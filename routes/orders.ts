import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import {
  NewOrderHeadersSchema,
  NewOrderSchema,
  OrderListSchema,
  OrderParamsSchema,
  OrderSchema
} from '../schemas/order.ts'
import { ProblemSchema } from '../schemas/problem.ts'
import { OrderNotFound } from '../src/errors.ts'
import type { OrderJson } from '../src/encoding/order-json.ts'
import { traceparentOf } from '../src/traceparent.ts'
import { refuseContentEncoding, takeUserIdFromHeader, unquoteIdempotencyKey } from './order-request.ts'

const JSON_TYPE = 'application/json; charset=utf-8'
const problems = { '4xx': ProblemSchema, '5xx': ProblemSchema }

/** The three routes. Orders come from the store as serialised bytes, already in the shape of their schemas. */
const routes: FastifyPluginAsyncTypebox = async (app) => {
  const { orders, reads, lists } = app
  const [prefix, suffix] = app.settings.RESPONSE_ENVELOPE === 'result' ? ['{"result":', '}'] : ['', '']
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

  // Without a route of its own HEAD would read all orders to throw them away. The method stands in a list as Fastify
  // would otherwise leave out /orders without its trailing slash (route() in its lib/route.js compares with 'HEAD'
  // alone).
  app.route({ method: ['HEAD'], url: '/', handler: async (_request, reply) => reply.type(JSON_TYPE).send() })

  app.get('/', {
    exposeHeadRoute: false,
    schema: { response: { 200: OrderListSchema, ...problems } }
  }, async (_request, reply) => {
    const chunks = await lists.open(prefix, suffix)
    return reply.type(JSON_TYPE).send(Readable.from(chunks, { objectMode: false }) as never)
  })

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
