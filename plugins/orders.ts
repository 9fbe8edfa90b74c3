import fp from 'fastify-plugin'
import { createInvalidation } from '../src/invalidation.ts'
import { createOrders, type Orders } from '../src/orders.ts'

declare module 'fastify' {
  interface FastifyInstance { orders: Orders }
}

/** The store of orders, and what keeps its caches true. */
export default fp(async (app) => {
  const { db, ordersCollection: collection, redisTier: redis, settings, log } = app
  const orders = createOrders({ db, collection, redis, cacheBytesMax: settings.CACHE_BYTES_MAX, idempotencyHours: settings.IDEMPOTENCY_HOURS, log, observe: app.observe })
  const invalidation = createInvalidation({
    db, collectionName: collection.collectionName, reads: orders, redis, redisTtlSeconds: settings.REDIS_TTL_SECONDS, log
  })
  app.decorate('orders', orders)
  app.addHook('onReady', async () => invalidation.start())
  app.addHook('onClose', () => invalidation.stop())
}, { name: 'orders', dependencies: ['mongo', 'redis', 'metrics'] })
