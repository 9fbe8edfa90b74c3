/**
 * The order service as most would write it today: Express 5, Mongoose, kafkajs, ioredis, prom-client; a create and a
 * send for each POST.
 */
import express, { type NextFunction, type Request, type Response } from 'express'
import { Redis } from 'ioredis'
import { Kafka, logLevel, Partitioners } from 'kafkajs'
import mongoose from 'mongoose'
import promClient from 'prom-client'
import { CACHE_SECONDS, endOnSignal, settings } from './settings.ts'

const text = { type: String, required: true, minlength: 1, maxlength: 128 }
const orderSchema = new mongoose.Schema(
  {
    userId: text,
    products: {
      type: [
        { _id: text, quantity: { type: Number, required: true, min: 1, max: 1_000_000, validate: Number.isInteger } }
      ],
      validate: (products: unknown[]) => products.length > 0 && products.length <= 1_000
    }
  },
  { timestamps: true, versionKey: false, writeConcern: { w: 'majority', j: true } }
)
const Order = mongoose.model('Order', orderSchema)

await mongoose.connect(settings.mongoUrl)
const redis = new Redis(settings.redisUrl)
const kafka = new Kafka({ brokers: settings.brokers, clientId: 'express-orders', logLevel: logLevel.WARN })
const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
await producer.connect()

promClient.collectDefaultMetrics()
const duration = new promClient.Histogram({
  name: 'http_request_duration_seconds',
  help: 'requests',
  labelNames: ['method', 'route', 'status_code']
})

const app = express()
app.disable('x-powered-by')
app.use(express.json({ limit: '256kb' }))
app.use((request, response, next) => {
  const end = duration.startTimer()
  response.on('finish', () =>
    end({ method: request.method, route: request.route?.path ?? 'unknown', status_code: response.statusCode })
  )
  next()
})

app.get('/metrics', async (_request, response) => {
  response.type(promClient.register.contentType).send(await promClient.register.metrics())
})

app.post('/', async (request, response) => {
  const { userId, products } = request.body
  const order = await Order.create({ userId, products })
  await producer.send({
    topic: settings.topic,
    messages: [
      {
        key: order.id,
        value: JSON.stringify({
          type: 'order-placed',
          eventType: 'order-placed',
          userId,
          orderId: order.id,
          products,
          payload: order
        })
      }
    ]
  })
  response.status(201).location(`/${order.id}`).json(order)
})

app.get('/', async (_request, response) => {
  response.json(await Order.find().sort({ _id: 1 }).lean())
})

app.get('/:id', async (request, response) => {
  const { id } = request.params
  if (!mongoose.isValidObjectId(id)) return response.status(400).json({ message: 'not an id' })
  const cached = await redis.get(`order:${id}`)
  if (cached !== null) return response.type('json').send(cached)
  const order = await Order.findById(id).lean()
  if (order === null) return response.status(404).json({ message: 'no such order' })
  await redis.set(`order:${id}`, JSON.stringify(order), 'EX', CACHE_SECONDS)
  return response.json(order)
})

app.use((error: Error, _request: Request, response: Response, _next: NextFunction) => {
  const status = error instanceof mongoose.Error.ValidationError ? 400 : 500
  if (status === 500) console.error(error)
  response.status(status).json({ message: error.message })
})

const server = app.listen(settings.port, settings.host)
endOnSignal(async () => {
  server.close()
  server.closeAllConnections()
  await Promise.all([producer.disconnect(), mongoose.disconnect(), redis.quit()])
})
