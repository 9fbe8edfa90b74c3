import fp from 'fastify-plugin'
import { within } from '../src/deadline.ts'
import { createInvalidation } from '../src/invalidation.ts'
import { createOrders, type Orders } from '../src/orders.ts'
import { prepareOrders } from './mongo.ts'

declare module 'fastify' {
  interface FastifyInstance { orders: Orders }
}

/** Its stream ends at once, unless MongoDB hangs. */
const STOP_MS_MAX = 2_000

/** The store of orders, and what keeps its caches true. */
export default fp(async (app) => {
  const { db, ordersCollection: collection, redisTier: redis, settings, log } = app
  const limits = { postsMax: settings.POSTS_MAX, postWaitMsMax: settings.POST_WAIT_MS_MAX, listsMax: settings.LISTS_MAX }
  const orders = createOrders({ db, collection, redis, cacheBytesMax: settings.CACHE_BYTES_MAX, idempotencyHours: settings.IDEMPOTENCY_HOURS, limits, log, observe: app.observe })
  const invalidation = createInvalidation({
    db, collectionName: collection.collectionName, reads: orders, redis, redisTtlSeconds: settings.REDIS_TTL_SECONDS, onDrop, log
  })

  function onDrop (): void {
    log.warn('the collection of orders was dropped or renamed: its successor is prepared and followed')
    prepareOrders(db).catch((error) => log.error({ reason: error.message }, 'the new collection of orders has no index for Idempotency-Keys: start the service again'))
  }

  app.decorate('orders', orders)
  app.addHook('onReady', async () => invalidation.start())
  app.addHook('onClose', async () => {
    await within(STOP_MS_MAX, 'the end of the stream of changes', invalidation.stop()).catch((error) => log.warn({ reason: error.message }, 'the caches\' invalidation was left behind'))
  })
}, { name: 'orders', dependencies: ['mongo', 'redis', 'metrics'] })
