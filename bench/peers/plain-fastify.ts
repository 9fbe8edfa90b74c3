/**
 * The order service as plain Fastify with the drivers: JSON schemas, one insertOne and one send for each POST, JSON in
 * Redis.
 */
import fastify from 'fastify'
import { Redis } from 'ioredis'
import { Kafka, logLevel, Partitioners } from 'kafkajs'
import { MongoClient, ObjectId } from 'mongodb'
import {
  NewOrderSchema,
  OrderListSchema,
  OrderParamsSchema,
  OrderSchema,
  type NewOrder,
  type Order
} from '../../schemas/order.ts'
import { CACHE_SECONDS, endOnSignal, settings } from './settings.ts'

interface Stored { _id: ObjectId, userId: string, products: NewOrder['products'], createdAt: Date, updatedAt: Date }

const mongo = await new MongoClient(settings.mongoUrl).connect()
const orders = mongo.db().collection<Stored>('orders', { writeConcern: { w: 'majority', j: true } })
const redis = new Redis(settings.redisUrl)
const kafka = new Kafka({ brokers: settings.brokers, clientId: 'fastify-orders', logLevel: logLevel.WARN })
const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
await producer.connect()

const app = fastify({ logger: { level: settings.logLevel } })

app.post<{ Body: NewOrder }>(
  '/',
  { schema: { body: NewOrderSchema, response: { 201: OrderSchema } } },
  async (request, reply) => {
    const { userId, products } = request.body
    const now = new Date()
    const stored = { _id: new ObjectId(), userId, products, createdAt: now, updatedAt: now }
    await orders.insertOne(stored)
    const order = toOrder(stored)
    await producer.send({
      topic: settings.topic,
      messages: [
        {
          key: order._id,
          value: JSON.stringify({
            type: 'order-placed',
            eventType: 'order-placed',
            userId,
            orderId: order._id,
            products,
            payload: order
          })
        }
      ]
    })
    return reply.code(201).header('location', `/${order._id}`).send(order)
  }
)

app.get('/', { schema: { response: { 200: OrderListSchema } } }, async () =>
  (await orders.find().sort({ _id: 1 }).toArray()).map(toOrder)
)

app.get<{ Params: { id: string } }>(
  '/:id',
  { schema: { params: OrderParamsSchema, response: { 200: OrderSchema } } },
  async (request, reply) => {
    const { id } = request.params
    const cached = await redis.get(`order:${id}`)
    if (cached !== null) return JSON.parse(cached)
    const stored = await orders.findOne({ _id: new ObjectId(id) })
    if (stored === null) return reply.callNotFound()
    const order = toOrder(stored)
    await redis.set(`order:${id}`, JSON.stringify(order), 'EX', CACHE_SECONDS)
    return order
  }
)

function toOrder ({ _id, userId, products, createdAt, updatedAt }: Stored): Order {
  return {
    _id: _id.toHexString(),
    userId,
    products,
    createdAt: createdAt.toISOString(),
    updatedAt: updatedAt.toISOString()
  }
}

await app.listen({ port: settings.port, host: settings.host })
endOnSignal(async () => {
  app.server.closeAllConnections()
  await app.close()
  await Promise.all([producer.disconnect(), mongo.close(), redis.quit()])
})
